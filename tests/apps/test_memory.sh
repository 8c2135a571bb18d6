# --memory is what the whole process takes at most: measured as the kernel counts it, with the same numbers as without.
. "$(dirname "$0")/lib.sh"

python3 - >"$scratch/config.json" <<'PYTHON'
import json
print(json.dumps({
    "model_type": "kimi_linear", "vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 4,
    "intermediate_size": 512, "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 128,
    "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "mla_use_nope": True,
    "linear_attn_config": {"num_heads": 4, "head_dim": 64, "short_conv_kernel_size": 4,
                           "kda_layers": [1, 2, 3], "full_attn_layers": [4]},
    "num_experts": 128, "num_experts_per_token": 4, "num_shared_experts": 1, "moe_intermediate_size": 384,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_router_activation_func": "sigmoid",
    "moe_renormalize": True, "routed_scaling_factor": 2.446, "use_grouped_topk": True, "num_expert_group": 1,
    "topk_group": 1, "model_max_length": 4096, "bos_token_id": 768, "eos_token_id": 769, "pad_token_id": 1023}))
PYTHON
m=$scratch/m.gguf # 130 MB, nearly all of it experts
"$klinear" init --config "$scratch/config.json" --type q8_0 -o "$m" 2>/dev/null || fail "expected a model"

# The same numbers: 200 tokens, which meet all experts.
seq 1 200 >"$scratch/tokens"
"$klinear" logits -m "$m" --tokens-file "$scratch/tokens" --batch 64 -o "$scratch/whole"
python3 - "$klinear" "$m" "$scratch" >"$out" 2>"$err" <<'PYTHON' || fail "expected the memory that was promised"
import os, subprocess, sys
klinear, model, scratch = sys.argv[1:]
size = os.path.getsize(model)
fine = size > 100 << 20
for mib in (48, 64, 100):
    child = subprocess.Popen([klinear, "logits", "-m", model, "--tokens-file", scratch + "/tokens", "--batch", "64",
                              "--threads", "2", "--memory", f"{mib}M", "-o", f"{scratch}/lean"])
    _, status, used = os.wait4(child.pid, 0)
    same = status == 0 and open(scratch + "/lean", "rb").read() == open(scratch + "/whole", "rb").read()
    print(f"--memory {mib}M: status {status}, {used.ru_maxrss / 1024:.1f} MiB, same numbers: {same}")
    fine &= same and used.ru_maxrss <= mib * 1024
sys.exit(not fine)
PYTHON

run bench -m "$m" --memory 64M --prefill 32 --decode 8 --reps 1 --dram-mib 1 --json
expect_code 0
expect_json "all(0 < r['expert_hits'] < 1 and r['disk_bytes_per_token'] > 0 for r in d['rows'])"
expect_json "all(r['peak_bytes'] <= 64 << 20 for r in d['rows'])"

run bench -m "$m" --prefill 0 --decode 2 --reps 1 --dram-mib 1 --json
expect_code 0
expect_json "all(r['expert_hits'] is None and r['disk_bytes_per_token'] == 0 for r in d['rows'])"

# Too little is refused with what would do, and that does.
run logits -m "$m" --tokens 1,2,3 --memory 8M -o "$scratch/lean"
expect_code 1
expect_out ""
expect_in_err "8 MiB of memory is too little for $m: expected at least "
least=$(sed 's/.*expected at least //' "$err")
run logits -m "$m" --tokens 1,2,3 --memory "$(( ${least%M} + 1 ))M" -o "$scratch/lean"
expect_code 0

# What inspect foresees.
run inspect "$m" --memory 64M --json
expect_code 0
expect_json "0 < d['limit']['expert_hits'] < 1 and d['limit']['disk_bytes_per_token'] > 0"
expect_json "d['limit']['experts_in_memory'] < d['limit']['experts'] == 3 * 128"
expect_json "d['limit']['disk_gbps'] > 0 and d['limit']['memory_gbps'] > 0 and d['limit']['tokens_per_second'] > 0"
run inspect "$m" --memory 64M
expect_code 0
expect_in_out "Under a limit of 64 MiB"
run inspect "$m" --json
expect_json "'limit' not in d"
