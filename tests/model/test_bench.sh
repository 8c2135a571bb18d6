# klinear bench: rows that add up, in three forms; two models in turn; what is left out and what is refused.
. "$(dirname "$0")/lib.sh"

model=$scratch/tiny
made "$model" --layers 3 --ratio 2
quick="-m $model --threads 1 --dram-mib 1 --reps 1"

run bench $quick --prefill 3,64 --decode 2 --depth 0,70 --batch 1,4 --json
expect_code 0
expect_err ""
expect_json "[(r['phase'], r['tokens'], r['depth'], r['batch']) for r in d['rows']] == [
    ('prefill', 3, 0, 1), ('prefill', 64, 0, 1), ('decode', 2, 0, 1), ('decode', 2, 0, 4),
    ('prefill', 3, 70, 1), ('prefill', 64, 70, 1), ('decode', 2, 70, 1), ('decode', 2, 70, 4)]"
expect_json "all(r['threads'] == 1 and r['model'] == 'tiny' and r['tokens_per_second'] > 0 for r in d['rows'])"
expect_json "all(r['peak_bytes'] > 1 << 20 and 0 < r['fraction_of_ceiling'] < 1 for r in d['rows'])"
expect_json "all((r['first_token_ms'] is None) == (r['phase'] == 'decode') for r in d['rows'])"
expect_json "all(abs(r['first_token_ms'] * r['tokens_per_second'] / 1000 - r['tokens']) < 1e-3 * r['tokens']
                 for r in d['rows'] if r['phase'] == 'prefill')"
expect_json "d['machine']['cores'] >= 1 and d['ratios'] == []"

# What a token reads: weights of the experts it uses, the states twice, the latents of all tokens before it.
cat >"$scratch/bytes.py" <<'END'
import json, math, pathlib, sys
folder = pathlib.Path(sys.argv[1])
data = (folder / "model.safetensors").read_bytes()
header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
fixed = expert = 0
for name, entry in header.items():
    if name == "__metadata__":
        continue
    n = math.prod(entry["shape"])
    matrix = name.endswith("proj.weight") or "lm_head" in name or "_mqa" in name or "experts" in name
    if "embed_tokens" in name:
        fixed += 2 * entry["shape"][1]
    elif ".experts." in name:
        expert += 2 * n / 8
    else:
        fixed += (2 if matrix else 4) * n
state = 2 * (2 * 32 * 32 + 3 * 3 * 64) * 4
for row in json.load(open(sys.argv[2]))["rows"]:
    if row["phase"] == "decode" and row["batch"] == 1:
        expected = fixed + 2 * expert + 2 * state + (row["depth"] + 1) * 80 * 2
        assert abs(row["bytes_per_token"] - expected) <= 2, f"{row['bytes_per_token']}, expected {expected}"
END
"$python" "$scratch/bytes.py" "$model" "$out" 2>"$err" || fail "expected other bytes a token"

run bench $quick --prefill 0 --decode 1 --csv
expect_code 0
fields=model,phase,tokens,depth,batch,threads,tokens_per_second,first_token_ms,peak_bytes,bytes_per_token,gflops,gbps
last=fraction_of_ceiling,expert_hits,disk_bytes_per_token
[ "$(head -1 "$out")" = "$fields,$last" ] || fail "expected other fields"
[ "$(wc -l <"$out")" = 2 ] || fail "expected one row"
grep -q '^tiny,decode,1,0,1,1,[0-9.e+]*,,' "$out" || fail "expected a row of decode"

run bench $quick --prefill 16 --decode 0
expect_code 0
expect_in_out "klinear 0.1.0 on "
expect_in_out "tokens/s"
expect_in_out " KiB"

# A depth that nobody reads up to, and two models in turn, the second of which is much smaller.
made "$scratch/small" --layers 1 --ratio 0 --hidden 64 --experts 0
made "$scratch/large" --layers 3 --ratio 2 --hidden 256
run bench -m "$scratch/large" --compare "$scratch/small" --threads 1 --dram-mib 1 --reps 3 --prefill 64 --decode 4 \
    --depth 500 --fill random --json
expect_code 0
expect_json "[r['model'] for r in d['rows']] == ['large', 'small'] * 2"
expect_json "[(r['phase'], r['depth']) for r in d['ratios']] == [('prefill', 500), ('decode', 500)]"
expect_json "d['ratios'][0]['ratio'] > 1"

# A depth far out: its latents are what a token reads most of.
run bench $quick --prefill 0 --decode 2 --depth 100K --fill random --json
expect_code 0
expect_json "[(r['phase'], r['depth']) for r in d['rows']] == [('decode', 102400)]"
expect_json "d['rows'][0]['bytes_per_token'] > 102400 * 80 * 2"

# What memory does not allow is left out with a sentence; to have measured nothing is a failure.
run bench $quick --cache-memory 64K --depth 100K --fill random
expect_code 1
expect_out ""
expect_in_err "klinear bench: depth 102400 is left out: "
run bench $quick --cache-memory 64K --depth 100K,0 --fill random --prefill 8 --decode 0 --json
expect_code 0
expect_json "[r['depth'] for r in d['rows']] == [0]"

run bench $quick --csv --json
expect_refused "klinear bench: --csv and --json exclude each other"
run bench $quick --fill zeros
expect_refused 'klinear bench: --fill is "zeros", expected one of: random'
run bench $quick --batch 0
expect_refused 'klinear bench: --batch is "0", expected numbers, with commas between them, in 1 .. 16'
run bench -m "$scratch/none"
expect_code 1
expect_out ""
