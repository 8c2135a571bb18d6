# The released geometry in full, from headers alone: 20,493 tensors in 20 safetensors files and 610 in GGUF, all of them
# holes.  Every name and shape is found, counted, planned and mapped to the other layout.
. "$(dirname "$0")/lib.sh"

tool make_48b_headers.py "$scratch/hf" --gguf "$scratch/m.gguf"
expect_code 0
expect_in_out "20493 tensors, 49122681728 parameters, 98245528576 bytes, 20 files"
expect_in_out "610 tensors, 49122681728 parameters"

for m in hf m.gguf; do
    run inspect "$scratch/$m" --json
    expect_code 0
    expect_json "d['parameters'] == {'total': 49122681728, 'active': 3106972544}"
    expect_json "d['state']['token_bytes'] == 8064"
    expect_json "d['state']['fixed_bytes'] == 41943040 + 2 * 1474560" # tails of the convolutions in f32
    expect_json "[c['all_mla_bytes'] for c in d['state']['contexts']] == [127401984, 4076863488, 32614907904]"
    expect_json "all(c['bytes'] - d['state']['fixed_bytes'] == 8064 * c['tokens'] for c in d['state']['contexts'])"
    expect_json "[i for i, l in enumerate(d['config']['layers']) if l['mixer'] == 'mla'] == [3, 7, 11, 15, 19, 23, 26]"
    expect_json "'?' not in {t['role'] for t in d['tensors']}"
done
run inspect "$scratch/hf" --json
expect_json "d['model']['tensors'] == 20493 and d['model']['files'] == 20"
run inspect "$scratch/m.gguf" --json
expect_json "d['model']['tensors'] == 610"

run convert "$scratch/hf" -o "$scratch/x.gguf" --dry-run
expect_code 0
run convert "$scratch/hf" -o "$scratch/x.gguf" --dry-run --type q4_k_m
expect_code 0
run convert "$scratch/m.gguf" -o "$scratch/x/" --dry-run
expect_code 0
run quantize "$scratch/m.gguf" "$scratch/x.gguf" --type q4_k --dry-run --json
expect_code 0
# Rows of 128 fall back: 40 matrices of the gates, 7 of the keys.
expect_json "sum(r['tensors'] for r in d['rows'] if r['to'] == 'Q5_0') == 47"
expect_json "d['total']['tensors'] == 610"
run init --preset 48b --type q4_0 -o "$scratch/x.gguf" --dry-run
expect_code 0
[ "$(ls "$scratch" | sort | tr '\n' ' ')" = "err hf m.gguf out " ] || fail "expected no file of a dry run"
