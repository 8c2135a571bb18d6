# klinear convert, against readers of both formats that share nothing with the library: the reference finds the same
# model in the folder, in the GGUF file that it became, and in the folder that that became.
. "$(dirname "$0")/lib.sh"
tokens=1,5,9,200,7,7,3

# With "all" every variant, else one.
all=${2:-}

# same A B: the reference's logits of two models agree to the last rounding of -exp(A_log).
same() {
    tool reference_logits.py "$1" --tokens $tokens -o "$scratch/expected"
    expect_code 0
    tool reference_logits.py "$2" --tokens $tokens --compare "$scratch/expected" --tolerance 1e-6
    expect_code 0
}

converted() {
    run convert "$@"
    expect_code 0
    expect_out ""
}

n=0
while read -r options; do
    n=$((n + 1))
    [ "$n" = 1 ] || [ "$all" ] || continue
    m=$scratch/m$n
    made "$m" $options
    converted "$m" -o "$m.gguf"
    same "$m" "$m.gguf"
    converted "$m.gguf" -o "$m-back/"
    same "$m" "$m-back"
    for file in config.json tokenizer_config.json tiktoken.model generation_config.json; do
        cmp "$m/$file" "$m-back/$file" || fail "expected the same $file"
    done
done <<'OPTIONS'
--dtype bf16 --shards 3
--dtype f32 --q-lora 48 --full-gate --gate-act silu --lower-bound -5 --v-heads 4 --expand-v 2
--mixer gdn --tied --no-conv --rope --softmax-router --groups 4 --topk-group 2
--all-mla --moe-every 2 --no-renormalise
--mixer mamba2 --gate-act none --conv-bias --neg-eigval --experts 0
OPTIONS

# The whole of a file that another tool made of the same model: names, shapes and numbers.
made "$scratch/two" --dtype f32 --gguf f32
converted "$scratch/two" -o "$scratch/two.gguf"
"$python" - "$tools" "$scratch/two/model.gguf" "$scratch/two.gguf" >"$out" 2>"$err" <<'PYTHON' ||
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from reference.model.gguf import Gguf
a, b = Gguf(sys.argv[2]), Gguf(sys.argv[3])
assert set(a.tensors) == set(b.tensors), set(a.tensors) ^ set(b.tensors)
for name in a.tensors:
    x, y = np.squeeze(a.get(name)), np.squeeze(b.get(name))
    assert x.shape == y.shape, (name, x.shape, y.shape)
    assert np.abs(x - y).max() <= 1e-6 * np.abs(x).max(), name
PYTHON
    fail "expected the same tensors"

# A smaller type is near, where no router can change its mind.
made "$scratch/dense" --experts 0
converted "$scratch/dense" -o "$scratch/q8_0.gguf" --type q8_0
tool reference_logits.py "$scratch/dense" --tokens $tokens -o "$scratch/expected"
tool reference_logits.py "$scratch/q8_0.gguf" --tokens $tokens --compare "$scratch/expected" --tolerance 0.1
expect_code 0

run convert
expect_refused "klinear convert: which model? Name its folder or file"
run convert "$scratch/two"
expect_refused "klinear convert: where to? Name it with -o"
run convert "$scratch/two" -o "$scratch/two"
expect_code 1
expect_in_err "is no GGUF file"
run convert "$scratch/two" -o "$scratch/none.gguf" --dry-run
expect_code 0
[ ! -e "$scratch/none.gguf" ] || fail "expected no file of a dry run"
