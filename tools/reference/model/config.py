"""What a model is, as plain numbers: from config.json of a Hugging Face folder, or from the metadata of a GGUF file."""
from dataclasses import dataclass, field

# Synonyms that derived configurations use.
ALIASES = {
    "norm_topk_prob": "moe_renormalize",
    "n_group": "num_expert_group",
    "n_routed_experts": "num_experts",
    "num_local_experts": "num_experts",
    "num_experts_per_tok": "num_experts_per_token",
    "n_shared_experts": "num_shared_experts",
}


@dataclass
class Config:
    n_layer: int
    hidden: int
    vocab: int
    eps: float
    kv_eps: float  # of the norm of the MLA latent
    tied: bool
    mixer: list = field(default_factory=list)  # per layer: mla, or kda, gdn, deltanet, mamba2, gla, linear
    is_sparse: list = field(default_factory=list)  # per layer: routed experts; otherwise a dense feed-forward

    # the recurrent mixers
    heads: int = 0
    v_heads: int = 0
    k_dim: int = 0
    v_dim: int = 0
    taps: int = 4
    use_conv: bool = True
    neg_eigval: bool = False
    lower_bound: float = None  # of the bounded gate; None: the unbounded one
    gate_act: str = "sigmoid"  # of the output gate; "none": there is no gate

    # MLA
    mla_heads: int = 0
    nope_dim: int = 0
    rope_dim: int = 0
    mla_v_dim: int = 0
    kv_rank: int = 0
    use_rope: bool = False
    rope_theta: float = 10000.0
    rope_interleave: bool = False  # pairs (2 i, 2 i + 1); otherwise (i, i + n / 2)

    # routed experts
    n_expert: int = 0
    topk: int = 0
    score: str = "sigmoid"
    renormalise: bool = True
    scale: float = 1.0
    n_group: int = 1
    topk_group: int = 1
    biased_weights: bool = False  # the weights of the experts include the correction bias, as in the remote code
    n_shared: int = 0


def layers(is_linear, name):
    """What every layer is: `name` says it of all recurrent layers, or of every layer in a list."""
    if isinstance(name, list):
        return name
    return [name if linear else "mla" for linear in is_linear]


def layers_from_hf(c, n_layer):
    linear = c.get("linear_attn_config") or {}
    name = c.get("klinear_mixer", "kda")
    if "layer_types" in c:
        return layers([kind == "linear_attention" for kind in c["layer_types"]], name)
    kda, full = linear.get("kda_layers") or [], linear.get("full_attn_layers") or []
    if sorted(kda + full) != list(range(1, n_layer + 1)):
        raise ValueError("kda_layers and full_attn_layers do not name every layer once")
    return layers([i + 1 in kda for i in range(n_layer)], name)


def sparse_from_hf(c, n_layer):
    if "mlp_layer_types" in c:
        return [kind == "sparse" for kind in c["mlp_layer_types"]]
    first, every = c.get("first_k_dense_replace", 0), c.get("moe_layer_freq", 1)
    return [bool(c.get("num_experts")) and i >= first and i % every == 0 for i in range(n_layer)]


def from_hf(c):
    c = {ALIASES.get(key, key): value for key, value in c.items()}
    linear = c.get("linear_attn_config") or {}
    n_layer, eps = c["num_hidden_layers"], c.get("rms_norm_eps", 1e-6)
    heads = linear.get("num_heads") or c.get("linear_num_heads") or 0
    k_dim = linear.get("head_dim") or c.get("linear_head_dim") or 0
    bounded = linear.get("safe_gate", linear.get("lower_bound") is not None)
    return Config(
        n_layer=n_layer, hidden=c["hidden_size"], vocab=c.get("vocab_size", 163840), eps=eps,
        kv_eps=c.get("klinear_kv_a_norm_eps", eps), tied=c.get("tie_word_embeddings", False),
        mixer=layers_from_hf(c, n_layer), is_sparse=sparse_from_hf(c, n_layer),
        heads=heads, v_heads=linear.get("num_v_heads") or heads,
        k_dim=k_dim, v_dim=linear.get("klinear_value_head_dim") or int(k_dim * linear.get("expand_v", 1)),
        taps=linear.get("short_conv_kernel_size") or c.get("linear_conv_kernel_dim") or 4,
        use_conv=linear.get("use_short_conv", True), neg_eigval=linear.get("allow_neg_eigval", False),
        lower_bound=linear.get("lower_bound", -5.0) if bounded else None,
        gate_act=linear.get("klinear_gate_activation", "sigmoid"),
        mla_heads=c["num_attention_heads"], nope_dim=c.get("qk_nope_head_dim") or 0,
        rope_dim=c.get("qk_rope_head_dim") or 0, mla_v_dim=c.get("v_head_dim") or 0, kv_rank=c.get("kv_lora_rank") or 0,
        use_rope=not c.get("mla_use_nope", False), rope_theta=c.get("rope_theta", 10000.0),
        rope_interleave=c.get("rope_interleave", False),
        n_expert=c.get("num_experts") or 0, topk=c.get("num_experts_per_token") or 0,
        score=c.get("moe_router_activation_func", "sigmoid"), renormalise=c.get("moe_renormalize", True),
        scale=c.get("routed_scaling_factor", 1.0),
        n_group=c.get("num_expert_group", 1), topk_group=c.get("topk_group", 1),
        n_shared=c.get("num_shared_experts") or 0, biased_weights=c.get("klinear_router_weight_biased", False),
    )


def from_gguf(metadata, tensors):
    m = {key.removeprefix("kimi-linear."): value for key, value in metadata.items()}
    own = {key.removeprefix("klinear."): value for key, value in m.items()}  # what only klinear writes
    n_layer = m["block_count"]
    kv_heads = m["attention.head_count_kv"]
    kv_heads = kv_heads if isinstance(kv_heads, list) else [kv_heads] * n_layer
    rope, eps = m.get("rope.dimension_count", 0), m["attention.layer_norm_rms_epsilon"]
    k_dim, heads = m.get("kda.head_dim", 0), own.get("kda.head_count") or m["attention.head_count"]
    return Config(
        n_layer=n_layer, hidden=m["embedding_length"], vocab=tensors["token_embd.weight"][1][0], eps=eps,
        kv_eps=own.get("attention.kv_a_norm_epsilon", eps), tied="output.weight" not in tensors,
        mixer=layers([not n for n in kv_heads], own.get("mixer", "kda")),
        is_sparse=[f"blk.{i}.ffn_gate_exps.weight" in tensors for i in range(n_layer)],
        heads=heads, v_heads=own.get("kda.value_head_count", heads),
        k_dim=k_dim, v_dim=own.get("kda.value_head_dim", k_dim), taps=m.get("ssm.conv_kernel", 4),
        use_conv=any(".ssm_conv1d_" in name for name in tensors),
        neg_eigval=own.get("kda.negative_eigenvalues", False), lower_bound=own.get("kda.gate_lower_bound"),
        gate_act=own.get("kda.gate_activation", "sigmoid"),
        mla_heads=m["attention.head_count"], nope_dim=m.get("attention.key_length_mla", rope) - rope, rope_dim=rope,
        mla_v_dim=m.get("attention.value_length_mla", 0), kv_rank=m.get("attention.kv_lora_rank", 0),
        use_rope=own.get("rope", False), rope_theta=m.get("rope.freq_base", 10000.0),
        n_expert=m.get("expert_count", 0), topk=m.get("expert_used_count", 0),
        score={1: "softmax", 2: "sigmoid"}[m.get("expert_gating_func", 2)],
        renormalise=m.get("expert_weights_norm", True), scale=m.get("expert_weights_scale", 1.0),
        n_group=m.get("expert_group_count", 1), topk_group=m.get("expert_group_used_count", 1),
        n_shared=m.get("expert_shared_count", 0), biased_weights=own.get("expert_weights_biased", False),
    )
