"""A model in the released layout as transformers' own port of it writes one: experts stacked, one convolution for q, k
and v, keys of the configuration without the inner object."""
import numpy as np

RENAMED = {
    "f_a_proj": "forget_gate_down", "f_b_proj": "forget_gate_up", "b_proj": "beta_proj",
    "g_a_proj": "output_gate_down", "g_b_proj": "output_gate_up", "g_proj": "output_gate",
}
DROPPED = ["linear_attn_config", "mla_use_nope", "first_k_dense_replace", "moe_layer_freq", "use_grouped_topk",
           "moe_router_activation_func", "num_nextn_predict_layers", "rope_theta", "rope_scaling"]
KEYS = {"model_max_length": "max_position_embeddings", "moe_renormalize": "norm_topk_prob",
        "num_expert_group": "n_group", "num_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts",
        "num_experts_per_token": "num_experts_per_tok"}


def configuration(config):
    linear = config["linear_attn_config"]
    layers = range(config["num_hidden_layers"])
    new = {KEYS.get(key, key): value for key, value in config.items() if key not in DROPPED}
    return new | {
        "layer_types": ["full_attention" if i + 1 in linear["full_attn_layers"] else "linear_attention"
                        for i in layers],
        "mlp_layer_types": ["dense" if i < config["first_k_dense_replace"] else "sparse" for i in layers],
        "linear_conv_kernel_dim": linear["short_conv_kernel_size"], "linear_key_head_dim": linear["head_dim"],
        "linear_num_key_heads": linear["num_heads"], "linear_num_value_heads": linear["num_heads"],
        "linear_value_head_dim": linear["head_dim"],
    }


def renamed(o, made):
    """The tensors of `made`; o: options of make_tiny_hf.py."""
    new = {}
    for name, x in made.items():
        base, _, last = name.removesuffix(".weight").rpartition(".")
        if name.endswith("A_log"):
            new[name] = x.reshape(-1, 1)
        elif name.endswith("dt_bias"):
            new[name] = x.reshape(o.heads, -1)
        elif ".experts." in name or last in ("k_conv1d", "v_conv1d"):
            continue
        elif last == "q_conv1d":
            new[f"{base}.conv1d.weight"] = np.concatenate([made[f"{base}.{c}_conv1d.weight"] for c in "qkv"])
        elif base.endswith("self_attn") and last in RENAMED:
            new[f"{base}.{RENAMED[last]}.weight"] = x
        else:
            new[name.replace("block_sparse_moe.", "mlp.")] = x
        if name.endswith("block_sparse_moe.gate.weight"):
            experts = [f"{base}.experts.{e}" for e in range(o.experts)]
            up = [np.concatenate([made[f"{e}.w1.weight"], made[f"{e}.w3.weight"]]) for e in experts]
            base = base.replace("block_sparse_moe", "mlp")
            new[f"{base}.experts.gate_up_proj"] = np.stack(up)
            new[f"{base}.experts.down_proj"] = np.stack([made[f"{e}.w2.weight"] for e in experts])
    return new
