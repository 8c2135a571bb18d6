"""usage: test_memory.py KLINEAR: --memory holds for a server with many users, and changes no answer."""
import json
import os
import subprocess
import sys
import threading

from server import Server, expect

# Nearly all of the file is experts: 130 MB.
CONFIG = {
    "model_type": "kimi_linear", "vocab_size": 1024, "hidden_size": 256, "num_hidden_layers": 4,
    "intermediate_size": 512, "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": None, "kv_lora_rank": 128,
    "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "mla_use_nope": True,
    "linear_attn_config": {"num_heads": 4, "head_dim": 64, "short_conv_kernel_size": 4, "kda_layers": [1, 2, 3],
                           "full_attn_layers": [4]},
    "num_experts": 128, "num_experts_per_token": 4, "num_shared_experts": 1, "moe_intermediate_size": 384,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_router_activation_func": "sigmoid",
    "moe_renormalize": True, "routed_scaling_factor": 2.446, "use_grouped_topk": True, "num_expert_group": 1,
    "topk_group": 1, "model_max_length": 4096, "bos_token_id": 768, "eos_token_id": 769, "pad_token_id": 1023}
USERS = 6
LIMIT = 112  # MiB; 32 of them are kept for what requests take


def make(program, folder):
    config, path = os.path.join(folder, "config.json"), os.path.join(folder, "experts.gguf")
    with open(config, "w") as f:
        json.dump(CONFIG, f)
    subprocess.run([program, "init", "--config", config, "--type", "q8_0", "-o", path], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def peak(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0


def ask_all(s):
    """Answers of all users, who come at once."""
    answers = [None] * USERS

    def ask(i):
        body = {"prompt": [(7 * j + 31 * i) % 700 for j in range(300 + 40 * i)], "max_tokens": 12, "seed": i,
                "logit_bias": {"769": -100}}
        answers[i] = s.post("/v1/completions", body)["choices"][0]["text"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(USERS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    expect(all(a is not None for a in answers), "somebody got no answer")
    return answers


def main(program):
    options = ["--batch", "128", "--sequences", "4", "--log", "off"]
    with Server(program, *options) as s:
        model = make(program, s.folder.name)
        with Server(program, *options, model=model) as whole:
            want, free = ask_all(whole), peak(whole.process.pid)
        with Server(program, *options, "--memory", f"{LIMIT}M", model=model) as lean:
            got, used = ask_all(lean), peak(lean.process.pid)
    print(json.dumps({"mib_without": round(free, 1), "mib_with": round(used, 1), "limit": LIMIT}))
    expect(got == want, "the limit changed an answer")
    expect(used <= LIMIT < free, f"{used:.1f} MiB of {LIMIT}, {free:.1f} without a limit")
    print("fine")


main(sys.argv[1])
