# klinear train: runs, goes on to the bit however it ended, says what is wrong with recipes and data, and ends with a
# model that runs.
. "$(dirname "$0")/lib.sh"

. "$(dirname "$0")/train_case.sh"

run train
expect_refused "klinear train: by which recipe? Name a file"
run train recipe --set lr=fast
expect_code 2
expect_in_err '--lr is "fast"'
for key in momentum beta1 beta2 eps; do
    run train recipe --set $key=0
    expect_refused "klinear train: $key is 0, expected more than 0"
done
run train recipe --set batch=100
expect_refused "klinear train: batch is no multiple of pass"
run train recipe --set "steps 5"
expect_refused 'klinear train: --set:1: "steps 5" is not KEY = VALUE'
run train recipe --set valid=none
expect_code 1
expect_in_err "none"
head -c 300 a.kl >cut.kl
run train recipe --set data=cut.kl
expect_code 1
expect_in_err "cut.kl: has 300 bytes, which is not what"
run train recipe --set tokenizer=tok/tiktoken.model --dry-run
expect_code 1
expect_in_err "tok/tiktoken.model/tiktoken.model cannot be read"
run train recipe --set type=q9 --dry-run
expect_code 1
expect_in_err "klinear train: the type is 'q9', expected one of: f32"
[ ! -e parts ] || fail "expected no folder after a failure"

run train recipe --print --set lr=0.01
expect_code 0
expect_in_out "lr            = 0.01 "
expect_in_out "clip          = 1 "
cp "$out" printed
run train printed --print
cmp -s "$out" printed || fail "expected a printed recipe to say the same when it is read"

# What is foretold, as a number.
run train recipe --dry-run
expect_code 0
foretold=$(sed -n 's/^memory: \([0-9.]*\) MiB/\1/p' "$out")
[ -n "$foretold" ] || fail "expected a number of MiB"

# What no machine here has the memory for is foretold too, and takes none.
run train recipe --set model=48b --set sample-every=1 --dry-run
expect_code 0
expect_in_out " million parameters"
expect_in_out " GiB"
grep -q nan "$out" && fail "expected numbers"

# Where tensors, not the program, are most of it: passes of 2048 tokens.
sed 's/"hidden_size": 64/"hidden_size": 256/; s/"intermediate_size": 64/"intermediate_size": 1024/
     s/"moe_intermediate_size": 32/"moe_intermediate_size": 256/; s/: 32/: 64/g' mini.json >large.json
for often in 0 1; do
    large="--set model=large.json --set batch=2048 --set pass=2048 --set length=256 --set steps=2 --set output=l-$often"
    large="$large --set sample-every=$often"
    as_foretold $large
done

# Without a break.
run train recipe --set output=whole
expect_code 0
expect_in_err "wrote whole/loss.svg"
expect_in_err "wrote whole/model-8 and whole/model-8-q4_0.gguf"
[ "$(wc -l <whole/log.csv)" = 9 ] || fail "expected a heading and 8 rows"
files=$(cd whole && ls ./*.training | tr -d '\n')
[ "$files" = ./best.training./step-000000006.training./step-000000008.training ] ||
    fail "expected the last two checkpoints, and the best"
awk -F, 'NR == 2 { a = $3 } NR == 9 { exit !($3 < a - 0.5) }' whole/log.csv || fail "expected the loss to fall"
grep -q "after step 8" whole/samples.txt || fail "expected a sample"
run run -m whole/model-8-q4_0.gguf --raw -p Once -n 5
expect_code 0

# In parts: some that end by themselves, one that is killed in the middle.
same() {
    cut -d, -f1-10 whole/log.csv >rows-1
    cut -d, -f1-10 "$1/log.csv" >rows-2
    cmp -s rows-1 rows-2 || fail "expected the same rows in $1/log.csv"
    cmp -s whole/model-8/model.safetensors "$1/model-8/model.safetensors" || fail "expected the same model in $1"
}
run train recipe --stop 3 # the checkpoint is that of step 2: step 3 comes again
run train recipe --stop 3 --set threads=2
expect_in_err "going on after step 2"
run train recipe
expect_in_err "going on after step 4"
same parts

"$klinear" train recipe --set output=killed --set save-every=1 2>/dev/null &
child=$!
while [ ! -e killed/step-000000003.training ] && kill -0 $child 2>/dev/null; do :; done
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
printf '4,512,broken' >>killed/log.csv
run train recipe --set output=killed --set save-every=1
expect_code 0
same killed

# A checkpoint that is damaged is named, and the one before it taken.
cp -r whole torn
rm -r torn/model-8 torn/model-8-q4_0.gguf
printf 'x' | dd of=torn/step-000000008.training bs=1 seek=5000 conv=notrunc 2>/dev/null
run train recipe --set output=torn
expect_code 0
expect_in_err "torn/step-000000008.training: is damaged"
expect_in_err "going on after step 6"
same torn

# A full disk, here a folder that cannot hold the next checkpoint: nothing that was saved is lost.
mkdir -p full
"$klinear" train recipe --set output=full --stop 2 2>/dev/null
mkdir full/step-000000004.training
run train recipe --set output=full
expect_code 1
expect_in_err "step-000000004.training"
[ -s full/step-000000002.training ] || fail "expected the checkpoint before"

run train plot -o p.svg whole parts
expect_code 0
grep -q '<polyline' p.svg || fail "expected a curve"
run train plot -o p.svg tok
expect_code 1
