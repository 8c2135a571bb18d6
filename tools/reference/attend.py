"""Softmax attention, multi-head latent attention and rotary positions, without any blocking: whole rows of scores."""
import numpy as np

from . import num
from .delta import sequences


def visible(n_query, n_row, i, causal):
    """Rows that query i of a sequence sees: the queries are its last tokens."""
    return max(0, n_row - n_query + i + 1) if causal else n_row


def softmax_read(scores, values):
    """scores [H][S], values [S][H][D] -> read [H][D], log of the sum [H].  The shift cancels exactly."""
    shift = num.real(scores).max(axis=1, keepdims=True)
    p = num.exp(scores - shift)
    total = num.total(p, axis=1, keepdims=True)
    lse = num.raw(num.log(total))[:, 0] + shift[:, 0]
    return num.einsum("hs,shd->hd", p / total, values), lse


def over_sequences(x, n_token, n_row, n_head, n_dim, causal, read_one):
    """Calls read_one(t, rows) for every query; a query without rows reads zeros, and its lse is -inf."""
    query_spans = sequences(x, n_token, "cu_q")
    row_spans = sequences(x, n_row, "cu_k" if "cu_k" in x else "cu_q")
    o, lse = [], []
    for (q0, q1), (k0, k1) in zip(query_spans, row_spans):
        for t in range(q0, q1):
            n = visible(q1 - q0, k1 - k0, t - q0, causal)
            if n:
                read, total = read_one(t, slice(k0, k0 + n))
            else:
                read, total = np.zeros((n_head, n_dim)), np.full(n_head, -np.inf)
            o.append(read)
            lse.append(total)
    return {"o": num.stack(o, (n_head, n_dim)), "lse": num.stack(lse, (n_head,))}


def attention(x, opt):
    q, k, v = x["q"], x["k"], x["v"]
    n_token, n_head, n_dim = num.raw(q).shape
    n_row, n_key_head = num.raw(k).shape[:2]
    scale = opt.get("scale") or n_dim**-0.5
    reads = np.arange(n_head) // (n_head // n_key_head)

    def read_one(t, rows):
        scores = scale * num.einsum("hd,shd->hs", q[t], k[rows][:, reads])
        return softmax_read(scores, v[rows][:, reads])

    return over_sequences(x, n_token, n_row, n_head, num.raw(v).shape[2], opt.get("causal"), read_one)


def mla(x, opt):
    q, cache, w_uk, w_uv = x["q"], x["cache"], x["w_uk"], x["w_uv"]
    n_token, n_head, n_dim = num.raw(q).shape
    n_nope, n_latent = num.raw(w_uk).shape[1:]
    n_row = num.raw(cache).shape[0]
    scale = opt.get("scale") or n_dim**-0.5
    keys = num.einsum("sr,hnr->shn", cache[:, :n_latent], w_uk)
    values = num.einsum("sr,hvr->shv", cache[:, :n_latent], w_uv)

    def read_one(t, rows):
        latent = num.einsum("hn,shn->hs", q[t][:, :n_nope], keys[rows])
        shared = num.einsum("hr,sr->hs", q[t][:, n_nope:], cache[rows][:, n_latent:])
        return softmax_read(scale * (latent + shared), values[rows])

    return over_sequences(x, n_token, n_row, n_head, num.raw(w_uv).shape[1], opt.get("causal"), read_one)


def rope(x, opt):
    y, position = x["x"], x["position"]
    n_dim = num.raw(y).shape[2]
    n_rot = opt.get("n_rot") or n_dim
    half = n_rot // 2
    frequency = (opt.get("base") or 10000.0) ** (-2.0 * np.arange(half) / n_rot)
    angle = (position[:, None] * frequency)[:, None, :]
    cos, sin = np.cos(angle), np.sin(angle)
    if opt.get("interleaved"):
        first, second = 2 * np.arange(half), 2 * np.arange(half) + 1
    else:
        first, second = np.arange(half), np.arange(half) + half
    a, b = y[:, :, first], y[:, :, second]
    turned = num.concatenate([a * cos - b * sin, a * sin + b * cos, y[:, :, n_rot:]], axis=2)
    place = np.empty(n_dim, dtype=np.int64)  # where each column of `turned` came from, inverted
    place[np.concatenate([first, second, np.arange(n_rot, n_dim)])] = np.arange(n_dim)
    return {"x_out": turned[:, :, place]}
