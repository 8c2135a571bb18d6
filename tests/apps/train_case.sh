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

# as_foretold WORDS...: the recipe with these words takes the memory that a dry run says.  Sanitizers take more.
as_foretold() {
    run train recipe "$@" --dry-run
    expect_code 0
    ! grep -q __asan_init "$klinear" || return 0
    foretold=$(sed -n 's/^memory: \([0-9.]*\) MiB.*/\1/p' "$out")
    python3 - "$klinear" "$foretold" "$@" >"$out" 2>"$err" <<'PYTHON' || fail "expected the memory that was foretold"
import os, subprocess, sys
klinear, foretold, *words = sys.argv[1:]
child = subprocess.Popen([klinear, "train", "recipe", *words], stderr=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
found = used.ru_maxrss / 1024
print(f"foretold {foretold} MiB, found {found:.1f} MiB")
sys.exit(not (status == 0 and found > 60 and 0.9 < float(foretold) / found < 1.1))
PYTHON
}
