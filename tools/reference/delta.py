"""The delta-rule recurrences, token by token as they are defined: kl_kda and kl_dplr.

Inputs are a dict x of arrays (a missing key is an absent tensor) and a dict opt of plain numbers, named as the fields
of kl_kda_args and kl_dplr_args.  The state is [HV][K][V] inside; the layout asked for is applied at the borders.
"""
import numpy as np

from . import num

GATE_LOG, GATE_SOFTPLUS, GATE_BOUNDED = 0, 1, 2
RULE_DELTA, RULE_ADD = 0, 1
LAYOUT_KV, LAYOUT_VK = 0, 1


def sequences(x, n_token, key="cu_seqlens"):
    """(first token, end) of every sequence."""
    cu = x.get(key)
    return [(0, n_token)] if cu is None else [(int(a), int(b)) for a, b in zip(cu[:-1], cu[1:])]


def unit(x, eps=1e-6):
    return x / num.sqrt(num.total(x * x, axis=-1, keepdims=True) + eps)


def log_decay(x, opt, n_head):
    """g as [T][HV][K] or [T][HV][1], from the log decay itself or from the projection in front of a gate."""
    g = x.get("g")
    if g is None:
        return None
    per_head = num.raw(g).ndim == 2
    if per_head:
        g = num.reshape(g, num.raw(g).shape + (1,))
    gate = opt.get("gate", GATE_LOG)
    if gate == GATE_LOG:
        return g
    if "dt_bias" in x:
        bias = x["dt_bias"]
        g = g + num.reshape(bias, (n_head, 1) if per_head else num.raw(bias).shape)
    a = num.reshape(num.exp(x["A_log"]), (n_head, 1)) if "A_log" in x else 1.0
    if gate == GATE_SOFTPLUS:
        return -(a * num.softplus(g))
    return opt["lower_bound"] * num.sigmoid(a * g)


def write_strength(x, opt, shape):
    beta = x.get("beta")
    if beta is None:
        beta = np.ones(shape)
    if opt.get("beta_sigmoid"):
        beta = num.sigmoid(beta)
    return beta * 2.0 if opt.get("beta_double") else beta


def start_state(x, n, shape, opt):
    """The state before sequence n as [HV][K][V]; zeros when there is none."""
    if "state_in" not in x:
        return np.zeros(shape)
    s = x["state_in"][n]
    return num.transpose(s, (0, 2, 1)) if opt.get("state_layout") else s


def leave_state(s, opt):
    return num.transpose(s, (0, 2, 1)) if opt.get("state_layout") else s


def kda(x, opt):
    q, k, v = x["q"], x["k"], x["v"]
    n_token, n_key_head, n_k = num.raw(q).shape
    n_head, n_v = num.raw(v).shape[1:]
    scale = opt.get("scale") or n_k**-0.5
    if opt.get("qk_l2norm"):
        q, k = unit(q), unit(k)
    g = log_decay(x, opt, n_head)
    beta = write_strength(x, opt, (n_token, n_head))
    reads = np.arange(n_head) // (n_head // n_key_head)  # the key head of every value head
    o, left, snapshots = [], [], []
    for n, (start, end) in enumerate(sequences(x, n_token)):
        s = start_state(x, n, (n_head, n_k, n_v), opt)
        for t in range(start, end):
            q_t, k_t = q[t][reads], k[t][reads]
            if g is not None:
                s = s * num.reshape(num.exp(g[t]), num.raw(g).shape[1:] + (1,))
            error = v[t]
            if opt.get("rule", RULE_DELTA) == RULE_DELTA:
                error = error - num.einsum("hkv,hk->hv", s, k_t)
            s = s + num.einsum("hk,hv->hkv", k_t, num.reshape(beta[t], (n_head, 1)) * error)
            o.append(scale * num.einsum("hkv,hk->hv", s, q_t))
            every = opt.get("snapshot_every")
            if every and (t + 1 - start) % every == 0:
                snapshots.append(leave_state(s, opt))
        left.append(leave_state(s, opt))
    return outputs(o, left, snapshots, (n_head, n_v), num.raw(left[0]).shape, opt)


def outputs(o, left, snapshots, o_shape, s_shape, opt):
    result = {"o": num.stack(o, o_shape), "state_out": num.stack(left, s_shape)}
    if opt.get("snapshot_every"):
        result["snapshots"] = num.stack(snapshots, s_shape)
    return result


def dplr(x, opt):
    q, k, v, a, b = x["q"], x["k"], x["v"], x["a"], x["b"]
    n_token, n_head, n_k = num.raw(q).shape
    n_v = num.raw(v).shape[2]
    scale = opt.get("scale") or n_k**-0.5
    g = x.get("g")
    o, left = [], []
    for n, (start, end) in enumerate(sequences(x, n_token)):
        s = start_state(x, n, (n_head, n_k, n_v), opt)
        for t in range(start, end):
            read = num.einsum("hkv,hk->hv", s, b[t])  # before the decay
            if g is not None:
                s = s * num.reshape(num.exp(g[t]), (n_head, n_k, 1))
            s = s - num.einsum("hk,hv->hkv", a[t], read) + num.einsum("hk,hv->hkv", k[t], v[t])
            o.append(scale * num.einsum("hkv,hk->hv", s, q[t]))
        left.append(leave_state(s, opt))
    return outputs(o, left, [], (n_head, n_v), num.raw(left[0]).shape, opt)
