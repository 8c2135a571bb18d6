"""The network in PyTorch, f32, as one would write it there: batched matrix products, KDA chunk by chunk with a
triangular solve, attention by one product, experts in a loop; gradients by autograd.  Sequences of equal length."""
import torch
import torch.nn.functional as F

from .model import config as reading
from .model.weights import HF_FFN, HF_GLOBAL, HF_MIX
from .model.safetensors import Safetensors


class Weights:
    """Parameters by the names of the files, and by their parts in a layer."""

    def __init__(self, folder, config):
        store = Safetensors(folder)
        self.config = config
        self.named = {name: torch.tensor(store.get(name), dtype=torch.float32, requires_grad=True)
                      for name in store.tensors}

    def first(self, names):
        return next((self.named[name] for name in names if name in self.named), None)

    def whole(self, part):
        return self.first(HF_GLOBAL[part])

    def layer(self, i):
        base = f"model.layers.{i}."

        def part(name):
            if name in ("norm_mix", "norm_ffn"):
                return self.named[base + {"norm_mix": "input_layernorm", "norm_ffn": "post_attention_layernorm"}[name]
                                  + ".weight"]
            if name in HF_FFN:
                return self.first([base + room + n for n in HF_FFN[name] for room in ("", "block_sparse_moe.", "mlp.")])
            return self.first([base + "self_attn." + n for n in HF_MIX.get(name, [name])])

        def expert(e):
            return [self.named[f"{base}block_sparse_moe.experts.{e}.{w}.weight"] for w in ("w1", "w3", "w2")]

        return part, expert


def rmsnorm(x, w, eps):
    return w * x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)


def swiglu(x, gate, up, down):
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def short_conv(x, w):
    """x [B][T][channels], w [channels][...taps]."""
    taps = w.shape[-1]
    y = F.conv1d(F.pad(x.transpose(1, 2), (taps - 1, 0)), w.reshape(-1, 1, taps), groups=x.shape[2])
    return F.silu(y.transpose(1, 2))


def unit(x):
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def chunked_kda(q, k, v, g, beta, chunk):
    """q, k, g [B][H][T][K], v [B][H][T][V], beta [B][H][T]; T a multiple of `chunk`.  Decays between two tokens of a
    chunk are taken apart into two factors, which is the fastest and holds while a chunk's log decays sum to more than
    about -80: those of a fresh model do in chunks of 32."""
    n, h, length, width = q.shape
    q, k, v, g = (x.reshape(n, h, length // chunk, chunk, -1) for x in (q, k, v, g))
    beta = beta.reshape(n, h, length // chunk, chunk, 1)
    total = g.cumsum(3)
    risen, fallen = k * total.exp(), (k * (-total).exp()).transpose(3, 4)
    q_risen = q * total.exp()
    system = (beta * (risen @ fallen)).tril(-1) + torch.eye(chunk)
    q_pairs = (q_risen @ fallen).tril()
    solved = torch.linalg.solve_triangular(system, torch.cat([beta * risen, beta * v], -1), upper=False,
                                           unitriangular=True)
    w, u = solved.split([width, v.shape[-1]], -1)
    end = total[:, :, :, -1:]
    k_end, decay = k * (end - total).exp(), end.exp().transpose(3, 4)
    state, out = torch.zeros(n, h, width, v.shape[-1]), []
    for i in range(length // chunk):
        fresh = u[:, :, i] - w[:, :, i] @ state
        out.append(q_risen[:, :, i] @ state + q_pairs[:, :, i] @ fresh)
        state = decay[:, :, i] * state + k_end[:, :, i].transpose(2, 3) @ fresh
    return torch.stack(out, 2).reshape(n, h, length, -1)


def kda(c, part, x, chunk):
    n, length, _ = x.shape

    def heads(y):
        return y.reshape(n, length, c.heads, -1).transpose(1, 2)

    q, k, v = (heads(short_conv(x @ part(name).T, part("conv_" + name))) for name in "qkv")
    raw = heads(x @ part("f_a").T @ part("f_b").T + part("dt_bias").reshape(-1))
    g = -part("A_log").reshape(1, -1, 1, 1).exp() * F.softplus(raw)
    beta = torch.sigmoid(x @ part("beta").T).transpose(1, 2)
    o = chunked_kda(unit(q) * c.k_dim**-0.5, unit(k), v, g, beta, chunk)
    gate = torch.sigmoid(heads(x @ part("g_a").T @ part("g_b").T))
    y = rmsnorm(o, part("o_norm"), c.eps) * gate
    return y.transpose(1, 2).reshape(n, length, -1) @ part("o").T


def mla(c, part, x):
    n, length, _ = x.shape
    q = (x @ part("q").T).reshape(n, length, c.mla_heads, -1).transpose(1, 2)
    latent = x @ part("kv_a").T
    kv = rmsnorm(latent[..., : c.kv_rank], part("kv_norm"), c.kv_eps) @ part("kv_b").T
    k, v = kv.reshape(n, length, c.mla_heads, -1).transpose(1, 2).split([c.nope_dim, c.mla_v_dim], -1)
    shared = latent[:, None, :, c.kv_rank :].expand(-1, c.mla_heads, -1, -1)
    score = q @ torch.cat([k, shared], -1).transpose(2, 3) * (c.nope_dim + c.rope_dim) ** -0.5
    score = score.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf)
    return (score.softmax(-1) @ v).transpose(1, 2).reshape(n, length, -1) @ part("o").T


def experts(c, part, expert, x):
    flat = x.reshape(-1, x.shape[-1])
    score = torch.sigmoid(flat @ part("router").T)
    ids = (score + part("router_bias").detach()).topk(c.topk, dim=1).indices
    weight = score.gather(1, ids)
    if c.renormalise and c.topk > 1:
        weight = weight / (weight.sum(1, keepdim=True) + 1e-20)
    weight = weight * c.scale
    y = torch.zeros_like(flat)
    for e in range(c.n_expert):
        token, place = (ids == e).nonzero(as_tuple=True)
        if len(token):
            y = y.index_add(0, token, weight[token, place, None] * swiglu(flat[token], *expert(e)))
    if c.n_shared:
        y = y + swiglu(flat, part("shared_gate"), part("shared_up"), part("shared_down"))
    return y.reshape(x.shape)


def refuse_what_is_not_here(c):
    """This is the released architecture; its relatives are in the float64 model."""
    plain = (c.lower_bound is None and c.use_conv and c.gate_act == "sigmoid" and c.score == "sigmoid"
             and c.n_group <= 1 and not c.use_rope and not c.neg_eigval and c.heads == c.v_heads
             and set(c.mixer) <= {"kda", "mla"})
    if not plain:
        raise ValueError("only KDA and MLA as released are written in PyTorch here")


class Model:
    def __init__(self, folder, chunk=32):
        import json
        import pathlib
        self.config = reading.from_hf(json.loads((pathlib.Path(folder) / "config.json").read_text()))
        refuse_what_is_not_here(self.config)
        self.weights = Weights(folder, self.config)
        self.chunk = chunk

    def loss(self, token, label):
        """Mean of -log p over [B][T] tokens, nats."""
        c, w = self.config, self.weights
        x = w.whole("embed")[token]
        for i in range(c.n_layer):
            part, expert = w.layer(i)
            h = rmsnorm(x, part("norm_mix"), c.eps)
            x = x + (mla(c, part, h) if c.mixer[i] == "mla" else kda(c, part, h, self.chunk))
            h = rmsnorm(x, part("norm_ffn"), c.eps)
            x = x + (experts(c, part, expert, h) if c.is_sparse[i]
                     else swiglu(h, part("gate"), part("up"), part("down")))
        head = w.whole("embed") if c.tied else w.whole("head")
        logits = rmsnorm(x, w.whole("norm"), c.eps) @ head.T
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), label.reshape(-1))
