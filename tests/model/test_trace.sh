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
expect_err "klinear run: $scratch/none/trace cannot be written: No such file or directory"
run run -m "$scratch/tiny" --raw -p abc -n 4 -q --trace /dev/full/trace
expect_code 1

# What is kept one by one can be less than the text; what is counted is all of it.
run run -m "$scratch/tiny" --raw -p "$(seq 50)" -n 1 -q --trace "$scratch/trace"
expect_code 0
[ -s "$scratch/trace" ] && [ ! -e "$scratch/trace.tmp" ] || fail "expected a file, and nothing beside it"
