"""Token ids to logits in float64: the plain recurrence, expanded attention, experts one by one."""
import numpy as np


def sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def silu(x):
    return x * sigmoid(x)


def rmsnorm(x, w, eps):
    return w * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def unit(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)


def swiglu(x, gate, up, down):
    return (silu(x @ gate.T) * (x @ up.T)) @ down.T


# ---- KDA and its kin
def short_conv(x, w, bias):
    """Causal, depthwise; the last tap meets the current token.  x [T][channels], w [channels][taps]."""
    n_token, taps = len(x), w.shape[1]
    padded = np.concatenate([np.zeros((taps - 1, x.shape[1])), x])
    y = sum(w[:, j] * padded[j : j + n_token] for j in range(taps))
    return y if bias is None else y + bias


def projected(c, part, x, name, n_head):
    """q, k or v: projection, convolution, SiLU, heads."""
    y = x @ part(name).T
    if c.use_conv:
        y = short_conv(y, part("conv_" + name), part("bias_" + name))
    return silu(y).reshape(len(x), n_head, -1)


def gate_input(c, part, x, mixer):
    """What the decay gate sees: [T][value heads][k_dim], or [T][value heads][1] where a head has one decay."""
    per_head = mixer in ("gdn", "mamba2")
    raw = x @ part("a").T if per_head else x @ part("f_a").T @ part("f_b").T
    return (raw + part("dt_bias")).reshape(len(x), c.v_heads, 1 if per_head else c.k_dim)


def softplus(x):
    return np.logaddexp(0, x)


def log_decay(c, part, raw):
    rate = part("rate")
    rate = np.ones((c.v_heads, 1)) if rate is None else rate[:, None]
    if c.lower_bound is not None:
        return c.lower_bound * sigmoid(rate * raw)
    return -rate * softplus(raw)


def recurrence(q, k, v, g, beta, erases):
    """q, k [T][H][K], v [T][H][V], g [T][H][K or 1], beta [T][H] -> o [T][H][V].  The delta rule erases what the state
    says about a key before it writes; linear attention does not."""
    state = np.zeros((q.shape[1], q.shape[2], v.shape[2]))
    o = np.empty_like(v)
    for t in range(len(q)):
        state = np.exp(g[t])[:, :, None] * state
        missing = v[t] - np.einsum("hkv,hk->hv", state, k[t]) if erases else v[t]
        state = state + np.einsum("hk,hv->hkv", k[t], beta[t][:, None] * missing)
        o[t] = np.einsum("hkv,hk->hv", state, q[t])
    return o


def linear_mixer(c, part, x, mixer="kda"):
    group = c.v_heads // c.heads  # value head j reads key head j / group
    q, k = (np.repeat(unit(projected(c, part, x, name, c.heads)), group, axis=1) for name in "qk")
    v = projected(c, part, x, "v", c.v_heads)
    erases = mixer in ("kda", "gdn", "deltanet")
    g, beta = np.zeros(v.shape[:2] + (1,)), np.ones(v.shape[:2])
    if mixer not in ("deltanet", "linear"):
        raw = gate_input(c, part, x, mixer)
        g = log_decay(c, part, raw)
        if mixer == "mamba2":  # writes with the length of its time step
            beta = softplus(raw)[:, :, 0]
    if erases:
        beta = sigmoid(x @ part("beta").T) * (2 if c.neg_eigval else 1)
    o = recurrence(q * c.k_dim**-0.5, k, v, g, beta, erases)
    y = rmsnorm(o, part("o_norm"), c.eps)
    if c.gate_act != "none":
        gate = x @ part("g").T if part("g") is not None else x @ part("g_a").T @ part("g_b").T
        y = y * {"sigmoid": sigmoid, "silu": silu}[c.gate_act](gate.reshape(o.shape))
    return y.reshape(len(x), -1) @ part("o").T


# ---- MLA
def rotate(c, x):
    """x [T][..., rope_dim], row t at position t."""
    if not c.use_rope:
        return x
    n = c.rope_dim // 2
    angle = np.arange(len(x))[:, None] * c.rope_theta ** (-np.arange(n) / n)
    angle = angle.reshape((len(x),) + (1,) * (x.ndim - 2) + (n,))
    first, second = (x[..., 0::2], x[..., 1::2]) if c.rope_interleave else (x[..., :n], x[..., n:])
    turned = first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)
    if c.rope_interleave:
        return np.stack(turned, axis=-1).reshape(x.shape)
    return np.concatenate(turned, axis=-1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def mla_mixer(c, part, x):
    n_token, heads = len(x), c.mla_heads
    if part("q_a") is not None:
        q = rmsnorm(x @ part("q_a").T, part("q_norm"), c.kv_eps) @ part("q_b").T
    else:
        q = x @ part("q").T
    q = q.reshape(n_token, heads, c.nope_dim + c.rope_dim)
    latent = x @ part("kv_a").T
    shared = rotate(c, latent[:, c.kv_rank :])  # one key slice for all heads
    kv = rmsnorm(latent[:, : c.kv_rank], part("kv_norm"), c.kv_eps) @ part("kv_b").T
    kv = kv.reshape(n_token, heads, c.nope_dim + c.mla_v_dim)
    k, v = kv[:, :, : c.nope_dim], kv[:, :, c.nope_dim :]
    score = np.einsum("thd,shd->hts", q[:, :, : c.nope_dim], k)
    score = score + np.einsum("thr,sr->hts", rotate(c, q[:, :, c.nope_dim :]), shared)
    score = score * (c.nope_dim + c.rope_dim) ** -0.5
    score = np.where(np.tril(np.ones((n_token, n_token), dtype=bool)), score, -np.inf)
    return np.einsum("hts,shv->thv", softmax(score), v).reshape(n_token, -1) @ part("o").T


# ---- feed-forward
def route(c, logits, bias):
    """ids [T][topk], weights [T][topk]."""
    s = sigmoid(logits) if c.score == "sigmoid" else softmax(logits)
    choice = s if bias is None else s + bias
    rank = choice
    if c.n_group > 1:
        groups = choice.reshape(len(s), c.n_group, -1)
        strength = np.sort(groups, axis=-1)[:, :, -2:].sum(-1)
        kept = np.argsort(-strength, axis=1, kind="stable")[:, : c.topk_group]
        mask = np.zeros((len(s), c.n_group), dtype=bool)
        np.put_along_axis(mask, kept, True, axis=1)
        rank = np.where(mask[:, :, None], groups, -np.inf).reshape(s.shape)
    ids = np.argsort(-rank, axis=1, kind="stable")[:, : c.topk]
    weight = np.take_along_axis(choice if c.biased_weights else s, ids, axis=1)
    if c.renormalise and c.topk > 1:
        weight = weight / (weight.sum(1, keepdims=True) + 1e-20)
    return ids, weight * c.scale


def experts(c, part, x):
    ids, weight = route(c, x @ part("router").T, part("router_bias"))
    gate, up, down = part("w_gate"), part("w_up"), part("w_down")
    y = np.zeros_like(x)
    for e in range(c.n_expert):
        token, place = np.nonzero(ids == e)
        if len(token):
            y[token] += weight[token, place][:, None] * swiglu(x[token], gate[e], up[e], down[e])
    if c.n_shared:
        y = y + swiglu(x, part("shared_gate"), part("shared_up"), part("shared_down"))
    return y


# ---- the walk
def logits(weights, tokens):
    """float64 [T][vocab] for token ids from the start of a sequence."""
    c = weights.config
    embed = weights.whole("embed")
    x = embed[np.asarray(tokens, dtype=np.int64)]
    for layer in range(c.n_layer):
        def part(name, layer=layer):
            return weights.get(layer, name)

        h = rmsnorm(x, part("norm_mix"), c.eps)
        x = x + (mla_mixer(c, part, h) if c.mixer[layer] == "mla" else linear_mixer(c, part, h, c.mixer[layer]))
        h = rmsnorm(x, part("norm_ffn"), c.eps)
        x = x + (experts(c, part, h) if c.is_sparse[layer] else swiglu(h, part("gate"), part("up"), part("down")))
    head = embed if c.tied else weights.whole("head")
    return rmsnorm(x, weights.whole("norm"), c.eps) @ head.T
