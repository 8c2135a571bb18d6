#!/usr/bin/env python3
"""Writes the geometries of the variants, one config.json each, and the list of runs: the plan of this experiment."""
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
N_LAYER, WIDTH, HEADS, HEAD, FFN, VOCAB = 8, 64, 2, 32, 160, 2048
SEEDS = (1, 2)
STEPS, LENGTH = 360, 128  # as the recipe has them


def geometry(every=4, gate="sigmoid", taps=4, rope=False):
    """Every so many layers MLA: 1 for all of them."""
    full = [i for i in range(1, N_LAYER + 1) if i % every == 0]
    return {
        "architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "hidden_act": "silu",
        "vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": N_LAYER, "rms_norm_eps": 1e-5,
        "num_attention_heads": HEADS, "kv_lora_rank": HEAD, "qk_nope_head_dim": HEAD // 2,
        "qk_rope_head_dim": HEAD // 2, "v_head_dim": HEAD, "mla_use_nope": not rope, "rope_theta": 10000,
        "intermediate_size": FFN, "first_k_dense_replace": N_LAYER, "num_experts": 0, "tie_word_embeddings": False,
        "linear_attn_config": {
            "num_heads": HEADS, "head_dim": HEAD, "short_conv_kernel_size": taps, "use_short_conv": taps > 0,
            "klinear_gate_activation": gate,
            "kda_layers": [i for i in range(1, N_LAYER + 1) if i not in full], "full_attn_layers": full}}


VARIANTS = {
    "3to1": geometry(),
    "0to1": geometry(every=1),
    "gate-silu": geometry(gate="silu"),
    "no-conv": geometry(taps=0),
    "rope": geometry(rope=True),
    "gate-none": geometry(gate="none"),
    "1to1": geometry(every=2),
    "7to1": geometry(every=8),
}

for name, config in VARIANTS.items():
    with open(os.path.join(HERE, name + ".json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(config, indent=1) + "\n")



def write_lengths(f, seed):
    for name in ("3to1", "rope", "0to1"):
        for times in (1, 4, 16):
            window, model = times * LENGTH, f"{name}-s{seed}"
            f.write(f"{model}-x{times} perplexity -m {{work}}/{model}/model-{STEPS} --window {window} --stride "
                    f"{window // 2} --limit 16384 --json corpus/held.plain\n")


with open(os.path.join(HERE, "runs"), "w", encoding="utf-8") as f:
    f.write("# Written by make.py.  name = variant-seed; then some read windows longer than they have learnt.\n")
    for seed in SEEDS:
        for name in VARIANTS:
            f.write(f"{name}-s{seed} train {{here}}/recipe --set model={{here}}/{name}.json --set seed={seed}\n")
        write_lengths(f, seed)
