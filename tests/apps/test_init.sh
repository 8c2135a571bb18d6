# klinear init: models of every preset's kind, the same for any number of threads, and nothing left behind on failure.
. "$(dirname "$0")/lib.sh"

run init
expect_refused "klinear init: where to? Name a file with -o"
run init --preset tiny --config x -o "$scratch/x"
expect_refused "klinear init: expected one of --preset and --config"

m=$scratch/m
run init -o "$m.gguf" --type q4_0 --threads 1
expect_code 0
expect_out ""
expect_in_err "wrote $m.gguf in "
run init --preset tiny --seed 1 -o "$m-2.gguf" --dtype Q4_0 --threads 2
expect_code 0
cmp "$m.gguf" "$m-2.gguf" || fail "expected the same bytes for 1 and 2 threads"
run init --seed 2 -o "$m-2.gguf" --type q4_0
expect_code 0
cmp -s "$m.gguf" "$m-2.gguf" && fail "expected other bytes of another seed"

# The geometry of another model.
run init --config "$m.gguf" --seed 1 -o "$m-3.gguf" --type q4_0
expect_code 0
cmp "$m.gguf" "$m-3.gguf" || fail "expected the same bytes from the configuration of the file"

# It runs.
for preset in tiny-mla tiny-gdn; do
    run init --preset $preset -o "$scratch/$preset.gguf"
    expect_code 0
    run logits -m "$scratch/$preset.gguf" --tokens 1,2,3 -o "$scratch/logits"
    expect_code 0
    [ "$(wc -c <"$scratch/logits")" = 12288 ] || fail "expected 3 x 1024 numbers"
done

mkdir "$scratch/d"
run init -o "$scratch/d/x.gguf" --preset huge
expect_code 1
expect_in_err "the preset is 'huge', expected tiny, small"
run init -o "$scratch/d/x.gguf" --type q9
expect_code 1
expect_in_err "the type is 'q9', expected one of"
run init -o "$scratch/none/x.gguf"
expect_code 1
expect_in_err "none/x.gguf: cannot be created: No such file or directory"
run init -o "$scratch/d/x.gguf" --config "$0"
expect_code 1
expect_in_err "neither"
[ -z "$(ls -A "$scratch/d")" ] || fail "expected nothing to be left behind"
