# The float64 forward pass and the maker of small models: what they rest on is checked without the program.
. "$(dirname "$0")/lib.sh"

line=check_reference.py
"$python" "$(dirname "$0")/check_reference.py" "$scratch" >"$out" 2>"$err"
code=$?
expect_code 0
expect_err ""
expect_in_out "13 block formats"

# The measures see what they are there to see.
head -c 4096 /dev/zero | tr '\0' '\1' >"$scratch/a"
{ head -c 4092 "$scratch/a"; printf '\0\0\200\77'; } >"$scratch/b"
tool compare_logits.py "$scratch/a" "$scratch/a" --vocab 256 --tolerance 0
expect_code 0
expect_in_out "max_abs 0  relative 0 "
tool compare_logits.py "$scratch/a" "$scratch/b" --vocab 256 --tolerance 1e-3
expect_code 1
expect_in_out "max_abs 1  relative 1 "
expect_in_out "top1 0.75"
tool compare_logits.py "$scratch/b" "$scratch/a" --vocab 255
expect_code 1
{ head -c 4092 "$scratch/a"; printf '\0\0\300\177'; } >"$scratch/nan"
tool compare_logits.py "$scratch/nan" "$scratch/a"
expect_code 1
expect_out "1 of 1024 numbers are not finite"
