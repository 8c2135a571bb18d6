# klinear inspect: what it says is true of the model, and its prediction of memory is what a run takes.
. "$(dirname "$0")/lib.sh"

run inspect "$scratch/none"
expect_code 1
expect_in_err "none: cannot be opened: No such file or directory"
run inspect "$0"
expect_code 1
expect_in_err "neither"

m=$scratch/m.gguf
"$klinear" init --preset tiny --type f32 -o "$m" 2>/dev/null
run inspect "$m"
expect_code 0
expect_err ""
expect_in_out "Layers          4: 3 kda 1 mla (mla in 3)"
expect_in_out "Parameters      4.8 M, of which 2.8 M meet a token"
run inspect --model "$m" --tensors --json --ctx 1000 --cache-type f32
expect_code 0
expect_json "d['model']['tensors'] == 89 == len(d['list']) == sum(t['tensors'] for t in d['tensors'])"
expect_json "d['model']['format'] == 'gguf' and d['model']['name'] == 'random-1'"
expect_json "d['parameters']['total'] == sum(t['elements'] for t in d['tensors'])"
# All but the embedding and the experts that are not chosen.
expect_json "d['parameters']['active'] == d['parameters']['total'] - 1024 * 256 - 3 * 6 * 3 * 128 * 256"
expect_json "[l['mixer'] for l in d['config']['layers']] == ['kda', 'kda', 'kda', 'mla']"
expect_json "d['state']['token_bytes'] == 4 * (128 + 32) and d['state']['page_bytes'] == 64 * 4 * 160"
expect_json "d['state']['fixed_bytes'] == 3 * 4 * (4 * 64 * 64 + 3 * 3 * 256)"
expect_json "d['state']['contexts'][-1]['bytes'] == d['state']['fixed_bytes'] + 16 * d['state']['page_bytes']"
expect_json "d['state']['contexts'][-1]['tokens'] == 1000"
expect_json "d['state']['contexts'][-1]['all_mla_bytes'] == 4 * 640 * 1000"
expect_json "d['memory']['state_bytes'] == d['state']['contexts'][-1]['bytes']"
expect_json "d['machine']['longest_context'] > 10000 and d['machine']['sequences'] > 1"

# A folder in Hugging Face layout is the same model.
"$klinear" convert "$m" -o "$scratch/hf/" --type f32 2>/dev/null
run inspect "$scratch/hf" --json
expect_code 0
expect_json "d['model']['format'] == 'safetensors' and d['model']['tensors'] == 88 + 3 * 3 * 7"
expect_json "d['parameters']['total'] == $("$klinear" inspect "$m" --json | python3 -c "
import json, sys
print(json.load(sys.stdin)['parameters']['total'])")"

# A prediction within a tenth: weights, workspace, state and program against the peak that the kernel counts, in steps
# of 64 tokens and of the usual size, with a latent cache that is limited and one that may take the whole machine.
seq 1 64 >"$scratch/tokens"
python3 - "$klinear" "$m" "$scratch" >"$out" 2>"$err" <<'PYTHON' || fail "expected the predicted memory"
import json, os, subprocess, sys
klinear, model, scratch = sys.argv[1:]


def check(verb, words, same):
    said = subprocess.run([klinear, "inspect", model, "--json", "--ctx", "64", *same], capture_output=True, check=True)
    expected = json.loads(said.stdout)["memory"]["peak_bytes"]
    child = subprocess.Popen([klinear, verb, "-m", model, *words, *same])
    _, status, used = os.wait4(child.pid, 0)
    found = used.ru_maxrss * 1024
    print(f"{verb}: predicted {expected}, found {found}")
    return status == 0 and 0.9 < expected / found < 1.1


logits = ["--tokens-file", scratch + "/tokens", "--last", "-o", scratch + "/logits"]
text = ["--raw", "-q", "-n", "4", "--seed", "1", "-p", "the quick brown fox jumps over the lazy dog " * 2]
fine = [check("logits", logits, ["--batch", "64", "--threads", "2", "--cache-memory", "16M"]),
        check("run", text, ["--threads", "2"])]
sys.exit(not all(fine))
PYTHON
