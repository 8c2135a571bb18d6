# klinear train task: every mixer runs every task, a small one learns, rows are the same for any number of threads.
. "$(dirname "$0")/lib.sh"

small="--width 32 --head-size 16 --ffn 32 --symbols 8 --lr 0.01"

run train task
expect_refused "klinear train task: expected one of: palindrome, mqar, stack, needle"
run train task sudoku
expect_refused "klinear train task: expected one of: palindrome, mqar, stack, needle"
run train task mqar --length 64 --pairs 30
expect_code 1
expect_in_err "klinear train task: kl_task: n_pair is 30"
run train task stack --steps 1 --csv "$scratch/no/such/file"
expect_code 1
expect_in_err "no/such/file cannot be written"
run train task stack --length 16 --steps 2 --every 1 --csv /dev/full $small
expect_code 1
expect_in_err "/dev/full cannot be written"
mkdir "$scratch/taken"
touch "$scratch/taken/mine"
run train task stack --length 16 --steps 1 --save "$scratch/taken" $small
expect_code 1
expect_out "" # nothing was learnt
expect_in_err "taken: is a folder that holds files"
run train task stack --length 16 --steps 1 --save "$scratch/no/such" $small
expect_code 1
expect_out ""
run train task stack --length 16 --steps 100 --every 100 --batch 2 $small --lr 10 --decay 10 --warmup 0 \
    --save "$scratch/lost"
expect_code 1
expect_in_err "klinear train task: the gradients of the last 16 steps, to step "
expect_in_err " are not finite"
[ ! -e "$scratch/lost" ] || fail "expected no model"
mkdir "$scratch/empty"
run train task stack --length 16 --steps 1 --save "$scratch/empty" $small
expect_code 0
[ -s "$scratch/empty/config.json" ] || fail "expected a model"

for mixer in kda gdn deltanet mamba2 gla linear softmax; do
    for task in palindrome mqar stack needle; do
        run train task $task -m $mixer --length 24 --steps 2 --every 1 --batch 2 --csv - $small --pairs 2 -t 1
        expect_code 0
        [ "$(wc -l <"$out")" = 3 ] || fail "expected a heading and two rows"
    done
done
expect_in_out "step,loss,accuracy,gradient_norm,skipped,seconds"

# Without the last column, which is the time.
rows() {
    run train task palindrome --length 13 --steps 150 --every 50 --batch 32 --csv - $small "$@"
    expect_code 0
    cut -d, -f1-5 "$out" >"$scratch/rows"
}
rows -t 1
awk -F, 'NR == 4 { exit !($3 > 0.9) }' "$scratch/rows" || fail "expected an accuracy above 0.9 in the end"
cp "$scratch/rows" "$scratch/rows-1"
rows -t 2
cmp -s "$scratch/rows" "$scratch/rows-1" || fail "expected the same rows for 1 and 2 threads"
rows -t 1 --stop 0.2
[ "$(wc -l <"$out")" = 2 ] || fail "expected to end with the first row that is good enough"
