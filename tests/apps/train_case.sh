# What the tests of training share, sourced after lib.sh: a tokenizer, shards, a geometry and a recipe of seconds; they
# lie in the folder that it goes to.
cd "$scratch" || exit 1
for i in $(seq 200); do
    printf 'Once %s sailors went to sea, to see what they could see, see, see.\n----\n' "$i"
done >text
"$klinear" train tokenizer -o tok --vocab 300 --separator ---- text 2>/dev/null
"$klinear" train data --tokenizer tok --separator ---- -o a.kl --held v.kl --hold 10 text 2>/dev/null
cat >mini.json <<'END'
{"architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "hidden_act": "silu", "num_hidden_layers": 2,
 "vocab_size": 300, "hidden_size": 64, "rms_norm_eps": 1e-05, "num_attention_heads": 2, "kv_lora_rank": 32,
 "qk_nope_head_dim": 32, "qk_rope_head_dim": 0, "v_head_dim": 32, "mla_use_nope": true, "intermediate_size": 64,
 "num_experts": 4, "num_experts_per_token": 2, "num_shared_experts": 1, "moe_intermediate_size": 32,
 "first_k_dense_replace": 1, "routed_scaling_factor": 1.0,
 "linear_attn_config": {"num_heads": 2, "head_dim": 32, "short_conv_kernel_size": 4, "kda_layers": [1],
                        "full_attn_layers": [2]}}
END
cat >recipe <<'END'
# a run of seconds
model = mini.json
tokenizer = tok
data = a.kl 2      # a remark
data = v.kl
valid = v.kl
output = parts
steps = 8
batch = 128
pass = 64
length = 32
optimiser = adamw
lr = 0.003
warmup = 2
decay = 2
valid-every = 4
valid-rows = 4
save-every = 2
keep = 2
sample-every = 8
sample-tokens = 5
type = q4_0
threads = 1
END
