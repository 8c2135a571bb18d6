# klinear perplexity: the losses are those of the float64 model, window by window; divergence from saved logits.
. "$(dirname "$0")/lib.sh"
model=$scratch/tiny
made "$model" --layers 2 --ratio 1 --hidden 64

cat >"$scratch/expected.py" <<'END'
"""What klinear reports, from the definitions.   expected.py TOOLS MODEL REPORT WINDOW STRIDE IDS"""
import json, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from reference.model.forward import logits
from reference.model.weights import open_weights
weights, report = open_weights(sys.argv[2]), json.load(open(sys.argv[3]))
window, stride = int(sys.argv[4]), int(sys.argv[5])
tokens = [int(word) for word in open(sys.argv[6]).read().split()]
losses, counted = [], 1
while counted < len(tokens):
    end = min(window if counted == 1 else counted + stride, len(tokens))
    first = max(0, end - window)
    x = logits(weights, tokens[first:end])
    lse = np.log(np.exp(x - x.max(1, keepdims=True)).sum(1)) + x.max(1)
    losses += [lse[t - 1 - first] - x[t - 1 - first, tokens[t]] for t in range(counted, end)]
    counted = end
losses = np.array(losses)
perplexity = np.exp(losses.mean())
expected = {"tokens": len(tokens) - 1, "perplexity": perplexity, "nats_per_token": losses.mean(),
            "standard_error": perplexity * losses.std(ddof=1) / len(losses) ** 0.5,
            "bits_per_byte": losses.sum() / np.log(2) / report["bytes"] if report["bytes"] else None}
for name, value in expected.items():
    found = report[name]
    close = found == value or (value is not None and abs(found - value) <= 6e-6 * abs(value))
    assert close, f"{name} is {found}, expected {value}"
END
expect_right() { # WINDOW STRIDE
    "$python" "$scratch/expected.py" "$tools" "$model" "$out" $1 $2 "$scratch/ids" 2>"$err" ||
        fail "expected other numbers"
}
perplexity() {
    run perplexity -m "$model" --cache-type f32 --arithmetic exact "$@"
}

text=$(head -c 900 "$tools/../README.md")
printf %s "$text" >"$scratch/text"
"$klinear" tokenize -m "$model" --file "$scratch/text" >"$scratch/ids"
perplexity --file "$scratch/text" --json
expect_code 0
expect_err ""
expect_right 2048 1024
expect_json "d['bytes'] <= 900 and d['bytes'] > 890"
cp "$out" "$scratch/whole"
perplexity --file "$scratch/text" --window 0 --json
[ "$(grep -v seconds "$out")" = "$(grep -v seconds "$scratch/whole")" ] || fail "expected the same in one window"
perplexity --file "$scratch/text" --window 100 --json
expect_right 100 50
perplexity --file "$scratch/text" --window 64 --stride 63 --json
expect_right 64 63
perplexity --tokens-file "$scratch/ids" --window 100 --stride 7 --json
expect_right 100 7
expect_json "d['bytes'] == 0 and d['bits_per_byte'] is None"

# Against saved logits: nothing differs from itself; another cache does, a little.
perplexity --file "$scratch/text" --save "$scratch/logits"
expect_code 0
expect_in_out "Perplexity      "
n=$(($(wc -w <"$scratch/ids") - 1))
[ "$(stat -c %s "$scratch/logits")" = $((n * 1024 * 4)) ] || fail "expected $n rows of 1024 numbers"
perplexity --file "$scratch/text" --against "$scratch/logits" --json
expect_json "d['kl_most'] == 0 and d['kl_mean'] == 0 and d['top1'] == 1"
run perplexity -m "$model" --cache-type bf16 --file "$scratch/text" --against "$scratch/logits" --json
expect_json "1e-12 < d['kl_mean'] < 1e-2 and d['kl_median'] <= d['kl_99'] <= d['kl_most'] and d['top1'] > 0.9"
perplexity --file "$scratch/text" --against "$scratch/logits"
expect_in_out "Same choice     100.00 %"

# From a pipe, the first tokens only.
line="perplexity <text"
"$klinear" perplexity -m "$model" --limit 20 --json <"$scratch/text" >"$out" 2>"$err"
code=$?
expect_code 0
expect_json "d['tokens'] == 19"

perplexity --file "$scratch/text" --limit 50 --against "$scratch/logits"
expect_code 1
expect_out ""
expect_err "klinear perplexity: $scratch/logits has $((n * 4096)) bytes, expected 200704: 49 rows of 1024 numbers"
printf a >"$scratch/short"
perplexity --file "$scratch/short"
expect_code 1
expect_err "klinear perplexity: $scratch/short has 1 tokens, expected at least 2"
perplexity --file "$scratch/none"
expect_code 1
expect_err "klinear perplexity: $scratch/none cannot be read: No such file or directory"
perplexity --window 10 --stride 10
expect_refused "klinear perplexity: --stride is 10, expected less than the 10 tokens of a window"
perplexity --window 1
expect_refused "klinear perplexity: --stride is 0, expected less than the 1 tokens of a window"
perplexity "$scratch/text" --limit 30
expect_code 0
perplexity a --file b
expect_refused 'klinear perplexity: --file and "a" are two texts'
perplexity --file a --tokens-file b
expect_refused "klinear perplexity: --file and --tokens-file exclude each other"

# Ctrl-C ends it; nothing that was being written appears.
seq 0 999 >"$scratch/many"
seq 0 999 >>"$scratch/many"
line="perplexity, interrupted"
"$klinear" perplexity -m "$model" --threads 1 --tokens-file "$scratch/many" --window 64 --stride 1 \
    --save "$scratch/no" >"$out" 2>"$err" &
pid=$!
sleep 0.5
kill -INT $pid
wait $pid
code=$?
expect_code 1
expect_out ""
expect_err "klinear perplexity: interrupted"
[ ! -e "$scratch/no" ] || fail "expected no file"
