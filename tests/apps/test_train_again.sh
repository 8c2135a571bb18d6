# klinear train where something is there already: another run, another recipe, files of people.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/train_case.sh"

run train recipe --set output=whole
expect_code 0
run train recipe --set output=seed-2 --set seed=2
expect_code 0

# Begun anew in a folder that has a model: in the end it is the model of this run, and files of others are left alone.
cp -r whole anew
rm anew/*.training
echo mine >anew/model-8/notes
run train recipe --set output=anew --set seed=2
expect_code 0
cmp -s anew/model-8/model.safetensors seed-2/model-8/model.safetensors || fail "expected the model of the second run"
cmp -s anew/model-8-q4_0.gguf seed-2/model-8-q4_0.gguf || fail "expected the GGUF file of the second run"
[ "$(cat anew/model-8/notes)" = mine ] || fail "expected the file of somebody else as it was"
[ ! -e anew/.model ] || fail "expected no folder of a moment"

# Ctrl-C writes a checkpoint first, also in a step with a sample, nearly all of which is before its prompt.
"$klinear" train recipe --set output=int --set steps=100000 --set save-every=50000 --set valid-every=50000 \
    --set batch=4096 --set sample-every=1 --set sample-tokens=1 2>"$err" &
child=$!
while [ ! -s int/samples.txt ] && kill -0 $child 2>/dev/null; do :; done
sleep 0.1
kill -INT $child
wait $child || fail "expected exit 0 after Ctrl-C"
expect_in_err "the same command goes on from here"
ls int/step-*.training >/dev/null || fail "expected a checkpoint after Ctrl-C"

# Another configuration of the same shapes.
sed 's/"num_experts_per_token": 2/"num_experts_per_token": 1/' mini.json >other.json
cp -r whole other
run train recipe --set output=other --set model=other.json
expect_code 1
expect_in_err "other/step-000000008.training: is the training of a model with another configuration"
expect_in_err "none of its checkpoints can be read"

# Other rows or another order of the data; fewer steps than there are.  What the run has stays as it is.
cp -r whole same
for change in seed=7 "length=64"; do
    run train recipe --set output=same --set $change --set steps=10
    expect_code 1
    expect_in_err "same/step-000000008.training: is of a run with seed 1 and length 32, the recipe has"
done
sed 's/sea, see, see/sea, sea, sea/' text >others
"$klinear" train data --tokenizer tok --separator ---- -o b.kl others 2>/dev/null
sed 's/^data = a.kl 2/data = b.kl 2/' recipe >replaced
sed '/^data = v.kl/d; s/^data = a.kl 2/data = v.kl\n&/' recipe >turned
for other in replaced turned; do
    run train $other --set output=same --set steps=10
    expect_code 1
    expect_in_err "same/step-000000008.training: is of a run with other data, or with its files in another order"
done
run train recipe --set output=same --set steps=4
expect_code 1
expect_in_err "same has done 8 steps already, and the recipe has steps = 4"
diff -r whole same >diff || fail "expected the run as it was: $(cat diff)"

# A log with other columns is not emptied; one without anything is a new one.
sed 's/,seconds$/,seconds,colour/' whole/log.csv >same/log.csv
cp same/log.csv coloured
run train recipe --set output=same
expect_code 1
expect_in_err "same/log.csv has other columns"
cmp -s same/log.csv coloured || fail "expected the log as it was"
: >same/log.csv
run train recipe --set output=same --set steps=10
expect_code 0

# Samples of steps that come again are removed.
samples="--set output=samples --set sample-every=1 --set save-every=2"
run train recipe $samples --stop 3
expect_code 0
run train recipe $samples
expect_code 0
found=$(sed -n 's/^--- after step //p' samples/samples.txt | tr '\n' ' ')
[ "$found" = "1 2 3 4 5 6 7 8 " ] || fail "expected a sample of each step, found those of $found"

# The best of a run is a model too: here that of the last step.
run train recipe --set output=whole --best
expect_code 0
expect_in_err "wrote whole/best-8 and whole/best-8-q4_0.gguf"
cmp -s whole/best-8/model.safetensors whole/model-8/model.safetensors || fail "expected the best to be the last"
run train recipe --set output=none --best
expect_code 1
expect_in_err "none/best.training"

# A run whose gradients stay without numbers ends, and leaves what was good: the best, and the checkpoints before.
run train recipe --set output=lost --set save-every=1 --set valid-every=1 --stop 2
expect_code 0
run train recipe --set output=lost --set save-every=1 --set valid-every=1 --set steps=60 \
    --set lr=10 --set weight-decay=10 --set outlier=0
expect_code 1
expect_in_err "the gradients of the last 16 steps, to step "
lost=$(sed -n 's/.*the last 16 steps, to step \([0-9]*\),.*/\1/p' "$err")
[ -e "lost/step-$(printf %09d $((lost - 16))).training" ] || fail "expected the checkpoint before the first of them"
[ -e "lost/step-$(printf %09d $((lost - 15))).training" ] && fail "expected no checkpoint after it"
run train recipe --set output=lost --best
expect_code 0
expect_in_err "wrote lost/best-"

# A run that goes on takes no more memory than one that begins: nothing of the checkpoint stays beside what is read.
sed 's/"hidden_size": 64/"hidden_size": 256/; s/"num_experts": 4/"num_experts": 16/
    s/"moe_intermediate_size": 32/"moe_intermediate_size": 512/' mini.json >wide.json
wide="--set model=wide.json --set output=wide --set steps=2 --set save-every=1 --set sample-every=0 --set length=64"
run train recipe $wide --stop 1
expect_code 0
as_foretold $wide

# A recipe that lies in the output folder stays as it was written; another leaves its own there.
mkdir own
sed 's/^output = .*/output = own # here/' recipe >own/recipe
cp own/recipe mine
run train own/recipe --stop 1 --set lr=0.5
expect_code 0
cmp -s own/recipe mine || fail "expected the recipe as it was"
run train recipe --set output=own --stop 1
expect_code 0
grep -q "^keep *= 2 " own/recipe || fail "expected the recipe of the run"
