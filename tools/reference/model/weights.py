"""The tensors of a layer by their part in it, whatever a file calls them.  `get(layer, part)` gives float64 in the
layout of the definitions, a matrix as [out][in]; None for a part that the file does not have.

    norm_mix norm_ffn                                         every layer
    q k v conv_q conv_k conv_v bias_q bias_k bias_v           KDA, GDN; conv_* [channels][taps]
    f_a f_b  or  a                                            decay per channel, or per head (GDN)
    rate dt_bias beta g_a g_b or g  o_norm o                  rate is exp(A_log) [heads]
    q or q_a q_norm q_b  kv_a kv_norm kv_b o                  MLA
    gate up down                                              dense feed-forward
    router router_bias  w_gate w_up w_down                    routed experts, w_* [experts][out][in]
    shared_gate shared_up shared_down
"""
import json
import pathlib

import numpy as np

from . import config
from .gguf import Gguf
from .safetensors import Safetensors

HF_GLOBAL = {"embed": ["model.embed_tokens.weight"], "norm": ["model.norm.weight"], "head": ["lm_head.weight"]}
HF_MIX = {
    "q": ["q_proj.weight"], "k": ["k_proj.weight"], "v": ["v_proj.weight"],
    "conv_q": ["q_conv1d.weight"], "conv_k": ["k_conv1d.weight"], "conv_v": ["v_conv1d.weight"],
    "bias_q": ["q_conv1d.bias"], "bias_k": ["k_conv1d.bias"], "bias_v": ["v_conv1d.bias"],
    "f_a": ["f_a_proj.weight", "forget_gate_down.weight"], "f_b": ["f_b_proj.weight", "forget_gate_up.weight"],
    "a": ["a_proj.weight"], "dt_bias": ["dt_bias"], "beta": ["b_proj.weight", "beta_proj.weight"],
    "g_a": ["g_a_proj.weight", "output_gate_down.weight"], "g_b": ["g_b_proj.weight", "output_gate_up.weight"],
    "g": ["g_proj.weight"], "o_norm": ["o_norm.weight"], "o": ["o_proj.weight"],
    "q_a": ["q_a_proj.weight"], "q_norm": ["q_a_layernorm.weight"], "q_b": ["q_b_proj.weight"],
    "kv_a": ["kv_a_proj_with_mqa.weight"], "kv_norm": ["kv_a_layernorm.weight"], "kv_b": ["kv_b_proj.weight"],
}
HF_FFN = {
    "gate": ["mlp.gate_proj.weight"], "up": ["mlp.up_proj.weight"], "down": ["mlp.down_proj.weight"],
    "router": ["gate.weight"], "router_bias": ["gate.e_score_correction_bias"],
    "shared_gate": ["shared_experts.gate_proj.weight"], "shared_up": ["shared_experts.up_proj.weight"],
    "shared_down": ["shared_experts.down_proj.weight"],
}
HF_EXPERT = {"w_gate": "w1", "w_up": "w3", "w_down": "w2"}


class HfWeights:
    """A folder with config.json and safetensors, as released, or as the transformers port saves it again."""

    def __init__(self, folder):
        self.config = config.from_hf(json.loads((pathlib.Path(folder) / "config.json").read_text()))
        self.store = Safetensors(folder)
        if "lm_head.weight" not in self.store:
            self.config.tied = True

    def first(self, names):
        found = [name for name in names if name in self.store]
        return self.store.get(found[0]) if found else None

    def whole(self, part):
        return self.first(HF_GLOBAL[part])

    def get(self, layer, part):
        base = f"model.layers.{layer}."
        if part in ("norm_mix", "norm_ffn"):
            return self.store.get(base + {"norm_mix": "input_layernorm", "norm_ffn": "post_attention_layernorm"}[part]
                                  + ".weight")
        if part == "rate":
            a_log = self.first([base + "self_attn.A_log"])
            return None if a_log is None else np.exp(a_log.reshape(-1))
        if part in HF_EXPERT:
            return self.experts(base, part)
        if part in HF_FFN:
            rooms = ("", "block_sparse_moe.", "mlp.")
            return self.first([base + room + name for name in HF_FFN[part] for room in rooms])
        found = self.first([base + "self_attn." + name for name in HF_MIX[part]])
        if found is None and part.startswith("conv_"):
            return self.stacked_conv(base, part)
        if found is not None and part.startswith("conv_"):
            return found.reshape(found.shape[0], -1)
        return found.reshape(-1) if part == "dt_bias" and found is not None else found

    def stacked_conv(self, base, part):
        """q, k and v in one tensor."""
        found = self.first([base + "self_attn.conv1d.weight"])
        if found is None:
            return None
        c = self.config
        n_key, n_value = c.heads * c.k_dim, c.v_heads * c.v_dim
        start, n = {"conv_q": (0, n_key), "conv_k": (n_key, n_key), "conv_v": (2 * n_key, n_value)}[part]
        return found[start : start + n].reshape(n, -1)

    def experts(self, base, part):
        stacked = "mlp.experts.down_proj" if part == "w_down" else "mlp.experts.gate_up_proj"
        if base + stacked in self.store:
            found = self.store.get(base + stacked)
            n = found.shape[1] // 2
            return {"w_down": found, "w_gate": found[:, :n], "w_up": found[:, n:]}[part]
        name = base + "block_sparse_moe.experts.{}." + HF_EXPERT[part] + ".weight"
        return np.stack([self.store.get(name.format(e)) for e in range(self.config.n_expert)])


GGUF_GLOBAL = {"embed": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight"}
GGUF_PARTS = {
    "norm_mix": "attn_norm.weight", "norm_ffn": "ffn_norm.weight",
    "q": "attn_q.weight", "k": "attn_k.weight", "v": "attn_v.weight",
    "conv_q": "ssm_conv1d_q.weight", "conv_k": "ssm_conv1d_k.weight", "conv_v": "ssm_conv1d_v.weight",
    "bias_q": "ssm_conv1d_q.bias", "bias_k": "ssm_conv1d_k.bias", "bias_v": "ssm_conv1d_v.bias",
    "f_a": "ssm_f_a.weight", "f_b": "ssm_f_b.weight", "a": "ssm_alpha.weight", "dt_bias": "ssm_dt.bias",
    "beta": "ssm_beta.weight", "g_a": "ssm_g_a.weight", "g_b": "ssm_g_b.weight", "g": "ssm_g.weight",
    "o_norm": "ssm_norm.weight", "o": "attn_output.weight",
    "q_a": "attn_q_a.weight", "q_norm": "attn_q_a_norm.weight", "q_b": "attn_q_b.weight",
    "kv_a": "attn_kv_a_mqa.weight", "kv_norm": "attn_kv_a_norm.weight",
    "gate": "ffn_gate.weight", "up": "ffn_up.weight", "down": "ffn_down.weight",
    "router": "ffn_gate_inp.weight", "router_bias": "exp_probs_b.bias",
    "w_gate": "ffn_gate_exps.weight", "w_up": "ffn_up_exps.weight", "w_down": "ffn_down_exps.weight",
    "shared_gate": "ffn_gate_shexp.weight", "shared_up": "ffn_up_shexp.weight", "shared_down": "ffn_down_shexp.weight",
}


class GgufWeights:
    def __init__(self, path):
        self.store = Gguf(path)
        self.config = config.from_gguf(self.store.metadata, self.store.tensors)

    def whole(self, part):
        return self.store.get(GGUF_GLOBAL[part])

    def get(self, layer, part):
        base = f"blk.{layer}."
        if part == "kv_b":
            return self.kv_b(base)
        if part == "rate":  # the file holds -exp(A_log)
            return -self.store.get(base + "ssm_a").reshape(-1) if base + "ssm_a" in self.store else None
        name = base + GGUF_PARTS[part]
        if name not in self.store:
            return None
        found = self.store.get(name)
        if part.startswith("conv_"):
            return found.reshape(-1, found.shape[-1])
        return found.reshape(-1) if part == "dt_bias" else found

    def kv_b(self, base):
        """Per head first the rows of the keys, which the file holds transposed, then those of the values."""
        if base + "attn_kv_b.weight" in self.store:
            return self.store.get(base + "attn_kv_b.weight")
        if base + "attn_k_b.weight" not in self.store:
            return None
        keys = self.store.get(base + "attn_k_b.weight").transpose(0, 2, 1)  # [heads][nope][rank]
        values = self.store.get(base + "attn_v_b.weight")                   # [heads][v][rank]
        both = np.concatenate([keys, values], axis=1)
        return both.reshape(-1, both.shape[2])


def open_weights(path):
    """A folder in Hugging Face layout or a GGUF file."""
    return HfWeights(path) if pathlib.Path(path).is_dir() else GgufWeights(path)
