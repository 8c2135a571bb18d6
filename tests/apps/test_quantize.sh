# klinear quantize: what it writes, and what it says about it.
. "$(dirname "$0")/lib.sh"

run quantize
expect_refused "klinear quantize: expected two files, the one to read and the one to write"
run quantize a b
expect_refused "klinear quantize: into what? Name a type with --type"
run quantize "$scratch/none" "$scratch/b" --type q8_0
expect_code 1
expect_in_err "none: cannot be opened"

"$klinear" init -o "$scratch/f32.gguf" --type f32 2>/dev/null
"$klinear" init -o "$scratch/q4_0.gguf" --type q4_0 2>/dev/null
run quantize "$scratch/f32.gguf" "$scratch/out.gguf" --type q4_0 --json
expect_code 0
expect_json "all(0.05 < r['relative_error'] < 0.12 for r in d['rows'] if r['to'] == 'Q4_0')"
expect_json "all(r['relative_error'] == 0 for r in d['rows'] if r['from'] == r['to'] == 'F32')"
expect_json "d['total']['to_bytes'] < d['total']['from_bytes'] / 6"
[ "$(wc -c <"$scratch/out.gguf")" = "$(wc -c <"$scratch/q4_0.gguf")" ] || fail "expected the size of klinear init"

run quantize "$scratch/f32.gguf" "$scratch/dry.gguf" --type q8_0 --dry-run
expect_code 0
expect_err ""
expect_in_out "attn_q.weight            F32    Q8_0         4"
[ ! -e "$scratch/dry.gguf" ] || fail "expected no file of a dry run"

# A file is not written over itself, under whatever name.
cp "$scratch/f32.gguf" "$scratch/copy.gguf"
ln "$scratch/copy.gguf" "$scratch/linked.gguf"
for to in copy linked; do
    run quantize "$scratch/copy.gguf" "$scratch/$to.gguf" --type q4_0
    expect_code 1
    expect_err "klinear quantize: $scratch/$to.gguf: is a file of the model to read, expected another one to write"
    cmp -s "$scratch/copy.gguf" "$scratch/f32.gguf" || fail "expected the file as it was"
done
