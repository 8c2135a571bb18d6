"""Golden cases of every operator but the delta rules."""
import numpy as np

from .around import ACT_SIGMOID, ACT_SILU, SCORE_SOFTMAX
from .case import Case
from .cases_delta import offsets


def heads_of(d, n_token, n_row, n_head, n_key_head, n_k, n_v):
    q, k = d.normal(n_token, n_head, n_k), d.normal(n_row, n_key_head, n_k)
    return {"q": q, "k": k, "v": d.normal(n_row, n_key_head, n_v)}


def attention_causal(d):
    return heads_of(d, 13, 13, 4, 2, 10, 12), {"causal": True}


def attention_packed(d):
    x = heads_of(d, 11, 50, 2, 2, 16, 16)
    x["cu_q"], x["cu_k"] = offsets(0, 1, 1, 8, 11), offsets(0, 20, 25, 48, 50)  # the last one: 3 queries, 2 rows
    return x, {"causal": True, "scale": 0.5}


def attention_full(d):
    x = heads_of(d, 7, 37, 3, 1, 9, 5)
    x["q"] = 6 * x["q"]  # sharp
    return x, {"tolerance": 2e-5}


def attention_large_scores(d):
    x = heads_of(d, 5, 40, 1, 1, 16, 8)
    x["q"] = 40 * x["q"]  # f32 knows scores of +-100 to about 1e-5, and that is the relative error of what follows
    return x, {"causal": True, "tolerance": 1e-3}


def latents(d, n_token, n_row, n_head, n_nope, n_rope, n_latent, n_v):
    return {
        "q": d.normal(n_token, n_head, n_nope + n_rope),
        "cache": d.normal(n_row, n_latent + n_rope),
        "w_uk": d.normal(n_head, n_nope, n_latent) / n_latent**0.5,
        "w_uv": d.normal(n_head, n_v, n_latent) / n_latent**0.5,
    }


def mla_decode(d):
    x = latents(d, 3, 33, 3, 8, 4, 16, 8)
    x["cu_q"], x["cu_k"] = offsets(0, 1, 2, 3), offsets(0, 9, 10, 33)
    return x, {"causal": True}


def mla_prefill(d):
    return latents(d, 19, 19, 2, 7, 3, 13, 9), {"causal": True, "scale": 0.25}


def mla_packed(d):
    x = latents(d, 12, 30, 2, 8, 4, 12, 10)
    x["cu_q"], x["cu_k"] = offsets(0, 5, 5, 12), offsets(0, 17, 23, 30)
    return x, {"causal": True}


def rope_halves(d):
    return {"x": d.normal(7, 3, 12), "position": np.array([0, 1, 2, 77, 1000, 4095, 3], dtype=np.int64)}, {}


def rope_interleaved(d):
    x = {"x": d.normal(5, 2, 10), "position": np.array([0, 5, 1, 300, 2], dtype=np.int64)}
    return x, {"n_rot": 6, "base": 500.0, "interleaved": True}


def rope_part(d):
    return {"x": d.normal(6, 2, 16), "position": np.arange(6) * 10}, {"n_rot": 8, "base": 1000.0}


def rmsnorm_plain(d):
    return {"x": 3 * d.normal(9, 37), "w": 1 + 0.1 * d.normal(37)}, {}


def rmsnorm_sigmoid(d):
    return {"x": d.normal(7, 3, 16), "w": 1 + 0.1 * d.normal(16), "z": 2 * d.normal(7, 3, 16)}, {"act": ACT_SIGMOID}


def rmsnorm_silu(d):
    x = {"x": d.normal(7, 2, 21), "w": 1 + 0.1 * d.normal(21), "z": 2 * d.normal(7, 2, 21)}
    return x, {"act": ACT_SILU, "eps": 2.0**-10}


def rmsnorm_bare(d):
    x = d.normal(6, 33)
    x[2] = 0
    x[3] *= 1e-4
    return {"x": x}, {}


def rmsnorm_plain_gate(d):
    return {"x": d.normal(5, 18), "z": d.normal(5, 18)}, {}


def l2norm_heads(d):
    x = d.normal(11, 3, 37)
    x[0, 0] = 0
    x[1] *= 1e-3
    return {"x": x}, {}


def l2norm_rows(d):
    return {"x": 5 * d.normal(9, 64)}, {"eps": 2.0**-7}


def short_conv_packed(d):
    x = {"x": d.normal(23, 19), "w": d.normal(19, 4), "bias": d.normal(19), "tail_in": d.normal(5, 3, 19)}
    x["cu_seqlens"] = offsets(0, 1, 3, 3, 6, 23)
    return x, {"act": ACT_SILU}


def short_conv_model(d):
    return {"x": d.normal(12, 32), "w": 0.5 * d.normal(32, 4)}, {"act": ACT_SILU}


def short_conv_linear(d):
    x = {"x": d.normal(9, 5), "w": d.normal(5, 7), "tail_in": d.normal(1, 6, 5)}
    return x, {}


def short_conv_one_tap(d):
    return {"x": d.normal(6, 11), "w": d.normal(11, 1), "bias": d.normal(11)}, {"act": ACT_SILU}


def swiglu_rows(d):
    x = {"gate": 4 * d.normal(9, 37), "up": d.normal(9, 37)}
    x["gate"][0, :4] = [-100, 100, 0, -20]
    return x, {}


def embedding_rows(d):
    return {"table": d.normal(12, 17), "id": np.array([3, 0, 11, 3, 3, 7], dtype=np.int32)}, {}


def linear_bias(d):
    return {"x": d.normal(7, 37), "w": d.normal(13, 37), "b": d.normal(13)}, {}


def linear_add(d):
    return {"x": d.normal(5, 16), "w": d.normal(9, 16), "y_before": d.normal(5, 9)}, {"add": True}


def linear_large(d):
    return {"x": d.normal(19, 128), "w": d.normal(33, 128) / 128**0.5}, {}


def linear_one(d):
    return {"x": d.normal(1, 65), "w": d.normal(21, 65)}, {}


def router_model(d):
    x = {"logits": d.normal(9, 32), "bias": 0.1 * d.normal(32)}
    return x, {"topk": 8, "renormalise": True, "scale": 2.5}


def router_groups(d):
    x = {"logits": d.normal(9, 24), "bias": 0.2 * d.normal(24)}
    return x, {"topk": 4, "n_group": 6, "topk_group": 2, "renormalise": True}


def router_softmax(d):
    return {"logits": 3 * d.normal(8, 10)}, {"score": SCORE_SOFTMAX, "topk": 2}


def router_ties(d):
    x = {"logits": np.round(d.normal(12, 8))}  # many equal scores: the lower id wins
    return x, {"score": SCORE_SOFTMAX, "topk": 3, "renormalise": True}


def experts_small(d):
    ids = np.stack([np.argsort(d.uniform(6), kind="stable")[:3] for _ in range(11)]).astype(np.int32)
    ids[ids == 4] = 5  # expert 4 gets nobody; an expert chosen twice by one token counts twice
    return {
        "x": d.normal(11, 14),
        "id": ids,
        "weight": d.uniform(11, 3),
        "w_gate": d.normal(6, 9, 14) / 14**0.5,
        "w_up": d.normal(6, 9, 14) / 14**0.5,
        "w_down": d.normal(6, 14, 9) / 3,
    }, {}


def experts_add(d):
    x, options = experts_small(d)
    return {**x, "y_before": d.normal(11, 14)}, {"add": True}


def cross_entropy_rows(d):
    x = {"logits": 3 * d.normal(9, 53), "label": d.below(53, 9).astype(np.int32)}
    x["label"][2] = -100
    x["logits"][4] *= 30
    return x, {}


CASES = [
    ("attention", "causal", attention_causal, {}),
    ("attention", "packed", attention_packed, {"half": True}),
    ("attention", "full", attention_full, {}),
    ("attention", "large_scores", attention_large_scores, {}),
    ("mla", "decode", mla_decode, {"half": True}),
    ("mla", "prefill", mla_prefill, {}),
    ("mla", "packed", mla_packed, {"half": True}),
    ("rope", "halves", rope_halves, {}),
    ("rope", "interleaved", rope_interleaved, {"half": True}),
    ("rope", "part", rope_part, {"half": True}),
    ("rmsnorm", "plain", rmsnorm_plain, {"half": True}),
    ("rmsnorm", "sigmoid", rmsnorm_sigmoid, {}),
    ("rmsnorm", "sigmoid_half", rmsnorm_sigmoid, {"half": True}),
    ("rmsnorm", "silu", rmsnorm_silu, {}),
    ("rmsnorm", "bare", rmsnorm_bare, {}),
    ("rmsnorm", "plain_gate", rmsnorm_plain_gate, {}),
    ("l2norm", "heads", l2norm_heads, {"half": True}),
    ("l2norm", "rows", l2norm_rows, {}),
    ("short_conv", "packed", short_conv_packed, {}),
    ("short_conv", "packed_half", short_conv_packed, {"half": True}),
    ("short_conv", "model", short_conv_model, {"half": True}),
    ("short_conv", "linear", short_conv_linear, {}),
    ("short_conv", "one_tap", short_conv_one_tap, {}),
    ("swiglu", "rows", swiglu_rows, {}),
    ("swiglu", "rows_half", swiglu_rows, {"half": True}),
    ("embedding", "rows", embedding_rows, {"half": True}),
    ("linear", "bias", linear_bias, {}),
    ("linear", "bias_half", linear_bias, {"half": True}),
    ("linear", "add", linear_add, {}),
    ("linear", "large", linear_large, {"half": True}),
    ("linear", "one", linear_one, {}),
    ("router", "model", router_model, {}),
    ("router", "groups", router_groups, {}),
    ("router", "softmax", router_softmax, {}),
    ("router", "ties", router_ties, {}),
    ("experts", "small", experts_small, {}),
    ("experts", "small_half", experts_small, {"half": True}),
    ("experts", "add", experts_add, {}),
    ("cross_entropy", "rows", cross_entropy_rows, {}),
    ("cross_entropy", "rows_half", cross_entropy_rows, {"half": True}),
    ("cross_entropy", "unweighted", cross_entropy_rows, {"without": ("d_loss",)}),
]


def other_cases():
    return [Case(op, name, build, **how) for op, name, build, how in CASES]
