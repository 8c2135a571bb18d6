# The model in models/: it is found without being named, is the architecture in small, writes the same text for a seed
# with any number of threads, and foresees English far better than a general compressor does.
. "$(dirname "$0")/lib.sh"
models=$(cd "$(dirname "$0")/../../models" && pwd)
export KLINEAR_MODELS=$models
file=("$models"/*.gguf)
[ "${#file[@]}" = 1 ] && [ -f "${file[0]}" ] || fail "expected one model in $models"
[ "$(stat -c %s "${file[0]}")" -le 8388608 ] || fail "expected at most 8 MiB"

run inspect --json "${file[0]}"
expect_code 0
expect_json "[layer['mixer'] for layer in d['config']['layers']] == ['kda', 'kda', 'kda', 'mla']"

write() {
    run run --seed 7 -n 64 --echo "$@" -p "Once upon a time there was a king"
    expect_code 0
}
write -q --threads 1
cp "$out" "$scratch/first"
[ "$(wc -w <"$scratch/first")" -ge 30 ] || fail "expected words"
write -q --threads 2
cmp -s "$out" "$scratch/first" || fail "expected the same text from two threads"

# No text that it learnt from.  Bzip2 needs five bits a byte here, xz six.
cat >"$scratch/text" <<'END'
The old woman lived with her three sons in a house at the edge of the wood. One evening in the winter, when the snow lay
deep before the door, the youngest of them said that he had heard somebody knocking. "It is only the wind," said his
brother; but the mother rose from her chair by the fire, took the candle in her hand, and went to see who it was.

There stood a little girl in the dark, without a coat, and she was so cold that she could not speak. They brought her
into the room, gave her bread and a cup of warm milk, and asked her where she had come from.
END
tr '\n' ' ' <"$scratch/text" >"$scratch/line"
run perplexity --json "$scratch/line"
expect_code 0
expect_json "d['bits_per_byte'] < 1.6"

# A folder called models beside somebody's prefix is his own: what is installed there has a model, or has none.
home=$(cd "$scratch" && pwd -P)/home place=$home/.local
mkdir -p "$place/bin" "$place/share/klinear" "$home/models"
cp "$klinear" "$place/bin/klinear"
echo "for another program" >"$home/models/another.gguf"
unset KLINEAR_MODELS
klinear=$place/bin/klinear
run inspect --json
expect_code 1
expect_err "klinear inspect: no model was named (-m), and there is none in $place/share/klinear/models"
cp -r "$models" "$place/share/klinear/models"
run inspect --json
expect_code 0
rm "$place/share/klinear/models"/*.gguf
cp "$models"/*.gguf "$models/NOTICE" "$home/models" # as in a source tree, whose name is of no account
rm "$home/models/another.gguf"
run inspect --json
expect_code 0
