# What the tests of whole models share.  Sourced with the path of the program as $1.
. "$(dirname "$0")/../apps/lib.sh"
tools=$(cd "$(dirname "$0")/../../tools" && pwd)

# Debian's python3 has numpy; another one first in PATH may not.
python=
for candidate in /usr/bin/python3 python3; do
    [ -n "$python" ] || ! "$candidate" -c "import numpy" 2>/dev/null || python=$candidate
done
[ -n "$python" ] || { echo "skipped: no python3 with numpy here (Debian: python3-numpy)"; exit 77; }

# tool NAME ARGUMENTS: one of tools/*.py; leaves $out, $err and $code as run does.
tool() {
    line=$*
    local name=$1
    shift
    "$python" "$tools/$name" "$@" >"$out" 2>"$err" </dev/null
    code=$?
}

# made DIR OPTIONS: a small model in Hugging Face layout.
made() {
    tool make_tiny_hf.py "$@"
    expect_code 0
}
