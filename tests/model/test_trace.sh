# klinear run --trace: the numbers are those of the float64 model, and what it refuses.
. "$(dirname "$0")/lib.sh"

line=check_trace.py
"$python" "$(dirname "$0")/check_trace.py" "$klinear" "$scratch" >"$out" 2>"$err"
code=$?
expect_code 0
expect_err ""
expect_in_out variants

made "$scratch/tiny" --layers 2 --ratio 1
run run -m "$scratch/tiny" --raw -p abc -n 4 -q --trace "$scratch/none/trace"
expect_code 1
expect_err "klinear run: $scratch/none/trace: cannot be created: No such file or directory"
run run -m "$scratch/tiny" --raw -p abc -n 4 -q --trace /dev/full/trace
expect_code 1

# What is kept one by one can be less than the text; what is counted is all of it.
printf private >"$scratch/trace"
chmod 600 "$scratch/trace"
echo other >"$scratch/trace.tmp"
run run -m "$scratch/tiny" --raw -p "$(seq 50)" -n 1 -q --trace "$scratch/trace"
expect_code 0
"$python" -m json.tool "$scratch/trace" >"$out" || fail "expected JSON"
[ "$(stat -c %a "$scratch/trace")" = 600 ] || fail "expected a trace that is as private as what it replaced"
[ "$(cat "$scratch/trace.tmp")" = other ] || fail "expected a neighbour's file to stay as it was"

# A context may be longer than what a trace keeps.
run run -m "$scratch/tiny" --raw -p abc -n 1 -q --ctx 2000000 --trace "$scratch/trace"
expect_code 0

# What is no file is not replaced by one.
mkfifo "$scratch/pipe"
run run -m "$scratch/tiny" --raw -p abc -n 1 -q --trace "$scratch/pipe"
expect_code 1
expect_err "klinear run: $scratch/pipe: exists and is no regular file"
[ -p "$scratch/pipe" ] || fail "expected the pipe to be there still"
