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
