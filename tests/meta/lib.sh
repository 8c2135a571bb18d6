# What the tests of the checkers share: a place for planted trees, and the comparison with what must be said.
set -u
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../tools" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

# plant FILE: standard input becomes $tree/FILE.
plant() {
    mkdir -p "$(dirname "$tree/$1")"
    cat >"$tree/$1"
}

# expect_caught COMMAND...: exits 1 and prints exactly the lines of standard input, in any order.
expect_caught() {
    local said code
    said=$("$@" 2>&1)
    code=$?
    if [ "$code" != 1 ] || ! diff <(sort) <(sort <<<"$said") >"$tree.diff"; then
        echo "FAILED: $* exited with $code; what was expected (<) and what it said (>):"
        cat "$tree.diff"
        rm -f "$tree.diff"
        exit 1
    fi
    rm -f "$tree.diff"
}

# expect_fine COMMAND...: exits 0.
expect_fine() {
    local said
    said=$("$@" 2>&1) || { echo "FAILED: $* does not accept a tree without faults:"; echo "$said"; exit 1; }
}
