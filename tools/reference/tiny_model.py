"""Small made models: configuration and weights in the released layout.  The weights are drawn as a trained model's are
sized: matrices N(0, 1 / fan in), norms near 1, rates U(1, 16), steps log-uniform in [0.001, 0.1]."""
import numpy as np

from .draw import Draw
from .tiny_text import N_SPECIAL


def layer_lists(o):
    """1-based lists as the released configuration has them: MLA in every `ratio` + 1-th layer and in the last."""
    n = range(1, o.layers + 1)
    full = [i for i in n if o.all_mla or (o.ratio >= 0 and (i % (o.ratio + 1) == 0 or i == o.layers))]
    return [i for i in n if i not in full], full


def configuration(o):
    kda, full = layer_lists(o)
    n_base = o.vocab - N_SPECIAL
    linear = {"full_attn_layers": full, "head_dim": o.head_dim, "kda_layers": kda, "num_heads": o.heads,
              "short_conv_kernel_size": o.taps}
    optional = {"num_v_heads": o.v_heads, "expand_v": o.expand_v, "lower_bound": o.lower_bound,
                "safe_gate": True if o.lower_bound is not None else None,
                "allow_neg_eigval": o.neg_eigval or None, "use_short_conv": False if o.no_conv else None,
                "conv_bias": o.conv_bias or None, "klinear_gate_activation": o.gate_act}
    linear |= {key: value for key, value in optional.items() if value is not None}
    return ({"klinear_mixer": o.mixer} if o.mixer else {}) | {
        "architectures": ["KimiLinearForCausalLM"],
        "bos_token_id": n_base, "dtype": {"bf16": "bfloat16", "f32": "float32"}[o.dtype], "eos_token_id": n_base + 2,
        "first_k_dense_replace": o.dense, "head_dim": o.hidden // o.heads, "hidden_act": "silu",
        "hidden_size": o.hidden, "initializer_range": 0.02, "intermediate_size": 2 * o.hidden,
        "kv_lora_rank": o.kv_rank, "linear_attn_config": linear, "mla_use_nope": not o.rope,
        "model_max_length": 1048576, "model_type": "kimi_linear", "moe_intermediate_size": o.expert_width,
        "moe_layer_freq": o.moe_every, "moe_renormalize": not o.no_renormalise,
        "moe_router_activation_func": "softmax" if o.softmax_router else "sigmoid", "num_attention_heads": o.heads,
        "num_expert_group": o.groups, "num_experts": o.experts, "num_experts_per_token": o.topk,
        "num_hidden_layers": o.layers, "num_key_value_heads": o.heads, "num_nextn_predict_layers": 0,
        "num_shared_experts": o.shared, "pad_token_id": n_base + N_SPECIAL - 1, "q_lora_rank": o.q_lora,
        "qk_nope_head_dim": o.nope, "qk_rope_head_dim": o.rope_dim, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "rope_theta": 10000.0, "routed_scaling_factor": 2.446, "tie_word_embeddings": o.tied,
        "topk_group": o.topk_group, "use_cache": True, "use_grouped_topk": True, "v_head_dim": o.v_dim,
        "vocab_size": o.vocab,
    }


class Tensors:
    """{name: f32 array} in the order of the layers; every tensor depends on the seed, its name and its shape only."""

    def __init__(self, o):
        self.o, self.made, self.stays_f32 = o, {}, set()
        self.matrix("model.embed_tokens.weight", o.vocab, o.hidden, scale=o.hidden**-0.5 if o.tied else 1.0)
        kda, _ = layer_lists(o)
        for i in range(o.layers):
            base = f"model.layers.{i}."
            self.norm(base + "input_layernorm.weight", o.hidden)
            (self.linear_mixer if i + 1 in kda else self.mla)(base + "self_attn.")
            self.norm(base + "post_attention_layernorm.weight", o.hidden)
            sparse = o.experts and i >= o.dense and i % o.moe_every == 0
            (self.experts if sparse else self.dense)(base)
        self.norm("model.norm.weight", o.hidden)
        if not o.tied:
            self.matrix("lm_head.weight", o.vocab, o.hidden)

    def draw(self, name):
        return Draw(f"{self.o.seed}/{name}")

    def matrix(self, name, rows, columns, scale=None):
        scale = columns**-0.5 if scale is None else scale
        self.made[name] = (self.draw(name).normal(rows, columns) * scale).astype(np.float32)

    def norm(self, name, n):
        self.made[name] = (1 + 0.1 * self.draw(name).normal(n)).astype(np.float32)

    def exact(self, name, values):
        self.made[name] = values.astype(np.float32)
        self.stays_f32.add(name)

    def linear_mixer(self, base):
        o = self.o
        v_heads, v_dim = o.v_heads or o.heads, int(o.head_dim * (o.expand_v or 1))
        n_key, n_value, n_decay = o.heads * o.head_dim, v_heads * v_dim, v_heads * o.head_dim
        for name, n in (("q", n_key), ("k", n_key), ("v", n_value)):
            self.matrix(base + name + "_proj.weight", n, o.hidden)
            if not o.no_conv:
                conv = base + name + "_conv1d.weight"
                self.made[conv] = (0.5 * self.draw(conv).normal(n, 1, o.taps)).astype(np.float32)
                if o.conv_bias:
                    bias = base + name + "_conv1d.bias"
                    self.made[bias] = (0.1 * self.draw(bias).normal(n)).astype(np.float32)
        mixer = o.mixer or "kda"
        if mixer in ("gdn", "mamba2"):
            n_decay = v_heads
            self.matrix(base + "a_proj.weight", v_heads, o.hidden)
        elif mixer in ("kda", "gla"):
            self.matrix(base + "f_a_proj.weight", v_dim, o.hidden)
            self.matrix(base + "f_b_proj.weight", n_decay, v_dim)
        if mixer in ("kda", "gdn", "deltanet"):
            self.matrix(base + "b_proj.weight", v_heads, o.hidden)
        if mixer not in ("deltanet", "linear"):
            self.exact(base + "A_log", self.draw(base + "A_log").rates(v_heads).reshape(1, 1, v_heads, 1))
            self.exact(base + "dt_bias", self.draw(base + "dt_bias").steps(n_decay))
        if o.gate_act == "none":
            pass
        elif o.full_gate:
            self.matrix(base + "g_proj.weight", n_value, o.hidden)
        else:
            self.matrix(base + "g_a_proj.weight", v_dim, o.hidden)
            self.matrix(base + "g_b_proj.weight", n_value, v_dim)
        self.norm(base + "o_norm.weight", v_dim)
        self.matrix(base + "o_proj.weight", o.hidden, n_value)

    def mla(self, base):
        o = self.o
        n_query = o.heads * (o.nope + o.rope_dim)
        if o.q_lora:
            self.matrix(base + "q_a_proj.weight", o.q_lora, o.hidden)
            self.norm(base + "q_a_layernorm.weight", o.q_lora)
            self.matrix(base + "q_b_proj.weight", n_query, o.q_lora)
        else:
            self.matrix(base + "q_proj.weight", n_query, o.hidden)
        self.matrix(base + "kv_a_proj_with_mqa.weight", o.kv_rank + o.rope_dim, o.hidden)
        self.norm(base + "kv_a_layernorm.weight", o.kv_rank)
        self.matrix(base + "kv_b_proj.weight", o.heads * (o.nope + o.v_dim), o.kv_rank)
        self.matrix(base + "o_proj.weight", o.hidden, o.heads * o.v_dim)

    def swiglu(self, base, names, width):
        gate, up, down = names
        self.matrix(f"{base}{gate}.weight", width, self.o.hidden)
        self.matrix(f"{base}{up}.weight", width, self.o.hidden)
        self.matrix(f"{base}{down}.weight", self.o.hidden, width)

    def dense(self, base):
        self.swiglu(base + "mlp.", ("gate_proj", "up_proj", "down_proj"), 2 * self.o.hidden)

    def experts(self, base):
        o, base = self.o, base + "block_sparse_moe."
        self.matrix(base + "gate.weight", o.experts, o.hidden)
        bias = base + "gate.e_score_correction_bias"
        self.made[bias] = (0.1 * self.draw(bias).normal(o.experts)).astype(np.float32)
        for e in range(o.experts):
            self.swiglu(f"{base}experts.{e}.", ("w1", "w3", "w2"), o.expert_width)
        if o.shared:
            self.swiglu(base + "shared_experts.", ("gate_proj", "up_proj", "down_proj"), o.expert_width * o.shared)
