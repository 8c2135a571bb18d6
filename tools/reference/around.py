"""The operators around the mixers: norms, convolution, feed-forward, routing, loss."""
import numpy as np

from . import num
from .delta import sequences, unit

ACT_NONE, ACT_SIGMOID, ACT_SILU = 0, 1, 2
SCORE_SIGMOID, SCORE_SOFTMAX = 0, 1


def activate(y, act):
    return {ACT_NONE: lambda z: z, ACT_SIGMOID: num.sigmoid, ACT_SILU: num.silu}[act](y)


def rmsnorm(x, opt):
    y = x["x"]
    mean = num.total(y * y, axis=-1, keepdims=True) / num.raw(y).shape[-1]
    y = y / num.sqrt(mean + (opt.get("eps") or 1e-5))
    if "w" in x:
        y = y * x["w"]
    if "z" in x:
        y = y * activate(x["z"], opt.get("act", ACT_NONE))
    return {"y": y}


def l2norm(x, opt):
    return {"y": unit(x["x"], opt.get("eps") or 1e-6)}


def short_conv(x, opt):
    y, w = x["x"], x["w"]
    n_token, n_dim = num.raw(y).shape
    n_tap = num.raw(w).shape[1]
    rows, tails = [], []
    for n, (start, end) in enumerate(sequences(x, n_token)):
        tail = x["tail_in"][n] if "tail_in" in x else np.zeros((n_tap - 1, n_dim))
        seen = num.concatenate([tail, y[start:end]])  # row i holds token start + i - (n_tap - 1)
        for t in range(end - start):
            total = x["bias"] if "bias" in x else np.zeros(n_dim)
            for j in range(n_tap):
                total = total + w[:, j] * seen[t + j]
            rows.append(activate(total, opt.get("act", ACT_NONE)))
        tails.append(seen[end - start :])
    return {"y": num.stack(rows, (n_dim,)), "tail_out": num.stack(tails, (n_tap - 1, n_dim))}


def swiglu(x, opt):
    return {"y": num.silu(x["gate"]) * x["up"]}


def embedding(x, opt):
    return {"y": x["table"][x["id"]]}


def linear(x, opt):
    y = num.einsum("td,nd->tn", x["x"], x["w"])
    if "b" in x:
        y = y + x["b"]
    return {"y": y + x["y_before"] if opt.get("add") else y}


def scores_of(logits, score):
    if score == SCORE_SIGMOID:
        return num.sigmoid(logits)
    e = num.exp(logits - num.real(logits).max(axis=1, keepdims=True))
    return e / num.total(e, axis=1, keepdims=True)


def best(values, n):
    """Indices of the n largest, largest first, ties to the lower index."""
    return sorted(range(len(values)), key=lambda i: (-values[i], i))[:n]


def choose(rank, opt):
    """The experts of one token by s + bias, with the groups that stay in the race."""
    n_expert, n_group = len(rank), opt.get("n_group") or 1
    eligible = np.ones(n_expert, dtype=bool)
    if n_group > 1:
        groups = rank.reshape(n_group, -1)
        strength = [sum(sorted(group)[-2:]) for group in groups]
        eligible = np.repeat(False, n_group)
        eligible[best(strength, opt["topk_group"])] = True
        eligible = np.repeat(eligible, n_expert // n_group)
    return best(np.where(eligible, rank, -np.inf), opt["topk"])


def router(x, opt):
    s = scores_of(x["logits"], opt.get("score", SCORE_SIGMOID))
    rank = num.real(s) + (x["bias"] if "bias" in x else 0.0)
    ids = np.array([choose(row, opt) for row in rank], dtype=np.int32).reshape(len(rank), opt["topk"])
    weight = s[np.arange(len(rank))[:, None], ids]
    if opt.get("renormalise"):
        weight = weight / (num.total(weight, axis=1, keepdims=True) + 1e-20)
    return {"id": ids, "weight": weight * (opt.get("scale") or 1.0)}


def experts(x, opt):
    rows = []
    for t, chosen in enumerate(x["id"]):
        y = x["y_before"][t] if opt.get("add") else np.zeros(num.raw(x["x"]).shape[1])
        for j, e in enumerate(chosen):
            gate = num.einsum("fd,d->f", x["w_gate"][e], x["x"][t])
            up = num.einsum("fd,d->f", x["w_up"][e], x["x"][t])
            y = y + x["weight"][t, j] * num.einsum("df,f->d", x["w_down"][e], num.silu(gate) * up)
        rows.append(y)
    return {"y": num.stack(rows, num.raw(x["x"]).shape[1:])}


def cross_entropy(x, opt):
    logits, label = x["logits"], x["label"]
    shift = num.real(logits).max(axis=1, keepdims=True)
    lse = num.log(num.total(num.exp(logits - shift), axis=1)) + shift[:, 0]
    counted = label >= 0
    own = logits[np.arange(len(label)), np.where(counted, label, 0)]
    return {"loss": (lse - own) * counted.astype(np.float64), "lse": lse}
