"""Golden cases of kl_kda and kl_dplr: every option at least once, at sizes that no vector length divides, and at the
sizes that kernels are tuned for."""
import numpy as np

from .case import Case
from .delta import GATE_BOUNDED, GATE_SOFTPLUS, LAYOUT_VK, RULE_ADD
from .draw import sigmoid


def offsets(*cu):
    return np.array(cu, dtype=np.int64)


def stream(d, n_token, n_head, n_value_head, n_k, n_v, correlation=0.0):
    """q, k and v as the layer makes them."""
    return {
        "q": d.keys(n_token, n_head, n_k),
        "k": d.keys(n_token, n_head, n_k, correlation=correlation),
        "v": d.values(n_token, n_value_head, n_v),
    }


def strengths(d, *shape):
    return sigmoid(d.normal(*shape))


def plain(d):
    x = stream(d, 37, 2, 2, 16, 16)
    x["g"], x["beta"] = d.log_decays(37, 2, 16, rate=4.0), strengths(d, 37, 2)
    x["state_in"] = d.normal(1, 2, 16, 16)
    return x, {}


def grouped_packed(d):
    x = stream(d, 41, 2, 4, 13, 11)
    x["g"], x["beta"] = d.log_decays(41, 4, 13, rate=8.0), strengths(d, 41, 4)
    x["cu_seqlens"], x["state_in"] = offsets(0, 5, 5, 22, 41), d.normal(4, 4, 13, 11)
    return x, {"scale": 0.5}


def softplus_gate(d):
    x = stream(d, 35, 1, 2, 12, 10)
    x["q"], x["k"] = 3 * x["q"], 3 * x["k"]
    x["g"], x["beta"] = d.normal(35, 2, 12), 2 * d.normal(35, 2)
    x["A_log"], x["dt_bias"] = d.rates(2), d.steps(2, 12)
    x["state_in"] = d.normal(1, 2, 12, 10)
    return x, {"gate": GATE_SOFTPLUS, "qk_l2norm": True, "beta_sigmoid": True, "beta_double": True}


def bounded_gate(d):
    x = stream(d, 33, 2, 2, 9, 14)
    x["q"], x["k"] = 2 * x["q"], 0.5 * x["k"]
    x["g"], x["beta"] = d.normal(33, 2, 9), d.normal(33, 2)
    x["A_log"], x["dt_bias"] = 0.5 * d.normal(2), d.normal(2, 9)
    x["state_in"] = d.normal(1, 2, 14, 9)
    return x, {
        "gate": GATE_BOUNDED,
        "lower_bound": -5.0,
        "qk_l2norm": True,
        "beta_sigmoid": True,
        "state_layout": LAYOUT_VK,
    }


def gate_without_parameters(d):
    x = stream(d, 18, 1, 1, 8, 8)
    x["g"], x["beta"] = d.normal(18, 1, 8), strengths(d, 18, 1)
    return x, {"gate": GATE_SOFTPLUS}


def gated_deltanet(d):
    x = stream(d, 34, 1, 2, 16, 12)
    x["g"], x["beta"] = -np.exp(d.normal(34, 2) - 2), strengths(d, 34, 2)
    x["state_in"] = d.normal(1, 2, 16, 12)
    return x, {}


def gated_deltanet_raw(d):
    x = stream(d, 34, 2, 2, 10, 10)
    x["g"], x["beta"] = d.normal(34, 2), d.normal(34, 2)
    x["A_log"], x["dt_bias"] = d.rates(2), d.steps(2)
    return x, {"gate": GATE_SOFTPLUS, "qk_l2norm": True, "beta_sigmoid": True}


def gated_deltanet_bounded(d):
    x = stream(d, 19, 1, 3, 7, 8)
    x["g"], x["beta"] = d.normal(19, 3), strengths(d, 19, 3)
    x["A_log"], x["dt_bias"] = 0.3 * d.normal(3), d.normal(3)
    return x, {"gate": GATE_BOUNDED, "lower_bound": -2.5}


def deltanet(d):
    x = stream(d, 36, 1, 1, 16, 16)
    x["beta"] = strengths(d, 36, 1)
    return x, {}


def gla(d):
    x = stream(d, 34, 2, 2, 12, 9)
    x["g"], x["beta"] = d.log_decays(34, 2, 12, rate=4.0), strengths(d, 34, 2)
    x["state_in"] = d.normal(1, 2, 12, 9)
    return x, {"rule": RULE_ADD}


def mamba2(d):
    x = stream(d, 34, 1, 3, 16, 8)
    x["g"], x["beta"] = d.normal(34, 3), np.exp(d.normal(34, 3) - 2)
    x["A_log"], x["dt_bias"] = d.rates(3), d.steps(3)
    return x, {"rule": RULE_ADD, "gate": GATE_SOFTPLUS, "scale": 1.0}


def linear_attention(d):
    x = stream(d, 33, 1, 2, 8, 8)
    x["state_in"] = d.normal(1, 2, 8, 8)
    return x, {"rule": RULE_ADD, "scale": 1.0}


def snapshots(d):
    x = stream(d, 70, 1, 2, 8, 6)
    x["g"], x["beta"] = d.log_decays(70, 2, 8), strengths(d, 70, 2)
    x["cu_seqlens"], x["state_in"] = offsets(0, 15, 15, 47, 70), d.normal(4, 2, 8, 6)
    return x, {"snapshot_every": 16}


def snapshots_vk(d):
    x = stream(d, 64, 1, 1, 6, 7)
    x["g"], x["beta"] = d.log_decays(64, 1, 6), strengths(d, 64, 1)
    return x, {"snapshot_every": 32, "state_layout": LAYOUT_VK}


def extreme_decays(d):
    """Channels that never decay, that are forgotten at once, that lose e^-50 a step or now and then, exact zeros."""
    x = stream(d, 40, 1, 1, 16, 12)
    g = np.zeros((40, 1, 16))
    g[:, :, 4:8] = -50
    g[:, :, 8:12] = np.where(d.uniform(40, 1, 4) < 0.1, -50, -0.01)
    g[:, :, 12:14] = np.where(d.uniform(40, 1, 2) < 0.1, -np.inf, -0.01)
    g[:, :, 14:] = -np.inf
    x["g"], x["beta"] = g, strengths(d, 40, 1)
    x["state_in"] = d.normal(1, 1, 16, 12)
    return x, {}


def correlated_keys(d):
    x = stream(d, 40, 1, 1, 24, 16, correlation=0.99)
    x["beta"] = np.full((40, 1), 0.95)
    return x, {"correlated": 1}


def doubled_strength(d):
    x = stream(d, 40, 1, 1, 16, 16)
    x["g"], x["beta"] = d.log_decays(40, 1, 16), d.uniform(40, 1)
    x["beta"][5:9] = 1.0  # reflections
    return x, {"beta_double": True}


def single_tokens(d):
    x = stream(d, 5, 1, 2, 16, 16)
    x["g"], x["beta"] = d.log_decays(5, 2, 16), strengths(d, 5, 2)
    x["cu_seqlens"], x["state_in"] = offsets(0, 1, 2, 3, 4, 5), d.normal(5, 2, 16, 16)
    return x, {}


def no_tokens(d):
    x = stream(d, 0, 1, 2, 4, 6)
    x["g"], x["beta"] = d.log_decays(0, 2, 4), strengths(d, 0, 2)
    x["cu_seqlens"], x["state_in"] = offsets(0, 0, 0), d.normal(2, 2, 4, 6)
    return x, {}


def tuned_64(d):
    x = stream(d, 35, 1, 1, 64, 64)
    x["g"], x["beta"] = d.log_decays(35, 1, 64, rate=2.0), strengths(d, 35, 1)
    x["state_in"] = d.normal(1, 1, 64, 64)
    return x, {}


def tuned_128(d):
    x = stream(d, 18, 1, 1, 128, 128)
    x["g"], x["beta"] = d.log_decays(18, 1, 128, rate=6.0), strengths(d, 18, 1)
    return x, {}


def dplr_stream(d, n_token, n_head, n_k, n_v):
    """RWKV-7's form: b of unit length, a = gain . b, so that the transition never grows."""
    x = stream(d, n_token, n_head, n_head, n_k, n_v)
    x["b"] = d.keys(n_token, n_head, n_k)
    x["a"] = x["b"] * d.uniform(n_token, n_head, n_k, low=0.2, high=0.9)
    return x


def dplr_plain(d):
    x = dplr_stream(d, 37, 2, 16, 12)
    x["g"], x["state_in"] = -0.2 * d.uniform(37, 2, 16), d.normal(1, 2, 16, 12)
    return x, {}


def dplr_packed(d):
    x = dplr_stream(d, 39, 2, 11, 13)
    x["g"], x["state_in"] = -0.5 * d.uniform(39, 2, 11), d.normal(4, 2, 13, 11)
    x["cu_seqlens"] = offsets(0, 1, 18, 18, 39)
    return x, {"state_layout": LAYOUT_VK, "scale": 1.0}


def dplr_undecayed(d):
    return dplr_stream(d, 33, 1, 8, 8), {}


def dplr_as_kda(d):
    x = stream(d, 36, 1, 1, 16, 16)
    g, beta = d.log_decays(36, 1, 16, rate=4.0), strengths(d, 36, 1)[:, :, None]
    x["a"], x["b"], x["g"] = beta * x["k"], np.exp(g) * x["k"], g
    x["k"] = beta * x["k"]
    return x, {}


def dplr_extreme_decays(d):
    x = dplr_stream(d, 34, 1, 12, 10)
    g = -0.1 * d.uniform(34, 1, 12)
    g[:, :, :4] = -50
    g[:, :, 4:6] = np.where(d.uniform(34, 1, 2) < 0.2, -np.inf, -0.01)
    x["g"], x["state_in"] = g, d.normal(1, 1, 12, 10)
    return x, {}


def dplr_tuned_64(d):
    x = dplr_stream(d, 20, 1, 64, 64)
    x["g"] = -0.2 * d.uniform(20, 1, 64)
    return x, {}


CASES = [
    ("kda", "plain", plain, {}),
    ("kda", "grouped_packed", grouped_packed, {"half": True}),
    ("kda", "softplus_gate", softplus_gate, {}),
    ("kda", "softplus_gate_half", softplus_gate, {"half": True}),
    ("kda", "bounded_gate", bounded_gate, {"half": True}),
    ("kda", "gate_without_parameters", gate_without_parameters, {}),
    ("kda", "gated_deltanet", gated_deltanet, {"half": True}),
    ("kda", "gated_deltanet_raw", gated_deltanet_raw, {}),
    ("kda", "gated_deltanet_bounded", gated_deltanet_bounded, {"without": ("d_state_out",)}),
    ("kda", "deltanet", deltanet, {"half": True}),
    ("kda", "gla", gla, {}),
    ("kda", "mamba2", mamba2, {"half": True}),
    ("kda", "linear_attention", linear_attention, {}),
    ("kda", "snapshots", snapshots, {}),
    ("kda", "snapshots_vk", snapshots_vk, {"half": True}),
    ("kda", "extreme_decays", extreme_decays, {}),
    ("kda", "correlated_keys", correlated_keys, {"half": True}),
    ("kda", "doubled_strength", doubled_strength, {}),
    ("kda", "single_tokens", single_tokens, {"half": True}),
    ("kda", "no_tokens", no_tokens, {}),
    ("kda", "tuned_64", tuned_64, {}),
    ("kda", "tuned_128", tuned_128, {"half": True, "without": ("state_out", "d_state_out")}),
    ("dplr", "plain", dplr_plain, {}),
    ("dplr", "packed", dplr_packed, {"half": True}),
    ("dplr", "undecayed", dplr_undecayed, {}),
    ("dplr", "as_kda", dplr_as_kda, {"half": True}),
    ("dplr", "extreme_decays", dplr_extreme_decays, {}),
    ("dplr", "tuned_64", dplr_tuned_64, {}),
]


def delta_cases():
    return [Case(op, name, build, **how) for op, name, build, how in CASES]
