# A checkpoint that transformers' own port has written is the same model as the released files.
. "$(dirname "$0")/lib.sh"

made "$scratch/released"
made "$scratch/native" --native
made "$scratch/shards" --native --shards 3
for model in released native shards; do
    run logits -m "$scratch/$model" --tokens 5,6,7,8,9 -o "$scratch/$model.logits"
    expect_code 0
    run convert "$scratch/$model" -o "$scratch/$model.gguf" --type q8_0
    expect_code 0
    run inspect --json "$scratch/$model"
    expect_code 0
done
for model in native shards; do
    cmp -s "$scratch/released.logits" "$scratch/$model.logits" || fail "$model: expected the same logits"
    run logits -m "$scratch/$model.gguf" --tokens 5,6,7,8,9 -o "$scratch/$model.quantised"
    run logits -m "$scratch/released.gguf" --tokens 5,6,7,8,9 -o "$scratch/released.quantised"
    cmp -s "$scratch/released.quantised" "$scratch/$model.quantised" || fail "$model: expected the same GGUF model"
done

# A stack that is not what the configuration says.
reshaped() { # TENSOR OLD NEW SENTENCE: shapes of equal length in the text of the header
    cp -r "$scratch/native" "$scratch/bad"
    "$python" - "$scratch/bad/model.safetensors" "$1" "$2" "$3" <<'END' || fail "the shape of $1 could not be changed"
import sys
path, name, old, new = sys.argv[1:]
data = open(path, "rb").read()
at = data.index(f'"{name}":'.encode())
at = data.index(old.encode(), at)
open(path, "wb").write(data[:at] + new.encode() + data[at + len(old):])
END
    run logits -m "$scratch/bad" --tokens 1
    expect_code 1
    expect_out ""
    expect_err "klinear logits: $4"
    rm -r "$scratch/bad"
}
file=$scratch/bad/model.safetensors
reshaped model.layers.1.mlp.experts.gate_up_proj '[8,128,128]' '[16,64,128]' \
    "$file: tensor 'model.layers.1.block_sparse_moe.experts.0.w1.weight' is [32][128], expected [64][128]"
reshaped model.layers.2.mlp.experts.down_proj '[8,128,64]' '[8,64,128]' \
    "$file: tensor 'model.layers.2.block_sparse_moe.experts.0.w2.weight' is [64][128], expected [128][64]"
expected="[rows of q_proj, k_proj and v_proj together][1][taps]"
reshaped model.layers.0.self_attn.conv1d.weight '[192,1,4]' '[192,2,2]' \
    "$file: tensor 'model.layers.0.self_attn.conv1d.weight' is [192][2][2], expected $expected"
reshaped model.layers.1.mlp.experts.gate_up_proj '[8,128,128]' '[128,8,128]' \
    "$file: tensor 'model.layers.1.block_sparse_moe.experts.0.w1.weight' is [4][128], expected [64][128]"
