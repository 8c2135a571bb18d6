# What the tests of the program share.  Sourced with the path of the program as $1.
# A test is a list of calls; the first that fails ends it with a sentence that says what was expected.
set -u
klinear=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
out=$scratch/out err=$scratch/err code=0 line=

fail() {
    echo "FAILED: klinear $line: $*" >&2
    echo "--- exit $code; standard output:" >&2
    head -c 2000 "$out" >&2
    echo "--- standard error:" >&2
    head -c 2000 "$err" >&2
    exit 1
}

# run ARGUMENTS: runs the program without a terminal; leaves $out, $err and $code.
run() {
    line=$*
    "$klinear" "$@" >"$out" 2>"$err" </dev/null
    code=$?
}

expect_code() {
    [ "$code" = "$1" ] || fail "expected exit $1"
}

# The whole of standard output or standard error.
expect_out() {
    [ "$(cat "$out")" = "$1" ] || fail "expected standard output to be: $1"
}
expect_err() {
    [ "$(cat "$err")" = "$1" ] || fail "expected standard error to be: $1"
}

# A part of them, fixed text.
expect_in_out() {
    grep -qF -- "$1" "$out" || fail "expected on standard output: $1"
}
expect_in_err() {
    grep -qF -- "$1" "$err" || fail "expected on standard error: $1"
}

# A wrong call: exit 2, nothing on standard output, exactly one line on standard error.
expect_refused() {
    expect_code 2
    expect_out ""
    expect_err "$1"
}

# expect_json EXPRESSION: standard output is JSON; the Python expression over `d` is true.
expect_json() {
    python3 - "$out" "$1" <<'PYTHON' || fail "expected JSON with $1"
import json, sys
d = json.load(open(sys.argv[1]), parse_constant=lambda name: sys.exit("not JSON: " + name))
sys.exit(0 if eval('(' + sys.argv[2] + ')') else 1)
PYTHON
}

# never_ends MODEL: options that keep a model from ending its answer, whatever it draws.
never_ends() {
    local mark id
    for mark in "[EOS]" "<|im_end|>" "[EOT]"; do
        id=$("$klinear" tokenize -m "$1" -p "$mark" --special)
        [ "$id" != "${id#* }" ] || printf -- '--logit-bias %s=-inf ' "$id"
    done
}
