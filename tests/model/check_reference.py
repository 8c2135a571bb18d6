#!/usr/bin/python3
"""Holds the float64 model of tools/reference/model to what was written elsewhere: the block formats to stored vectors,
its mixers and its router to the operators of tools/reference, and the whole to what must be true of any model.

    check_reference.py SCRATCH_FOLDER
"""
import filecmp
import pathlib
import sys
import types

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_tiny_hf  # noqa: E402
from reference import around, attend, delta  # noqa: E402
from reference.draw import Draw  # noqa: E402
from reference.model import blocks, forward  # noqa: E402
from reference.model.config import Config, from_hf  # noqa: E402
from reference.model.safetensors import Safetensors  # noqa: E402
from reference.model.weights import open_weights  # noqa: E402


def near(a, b, tolerance=1e-12):
    error = np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)
    assert a.shape == b.shape and error <= tolerance, f"{a.shape} against {b.shape}: {error:.3g}"


def check_blocks():
    files = sorted((ROOT / "tests" / "golden" / "quant").glob("*.bin"))
    for path in files:
        data = path.read_bytes()
        n, block_bytes, per_block = np.frombuffer(data, "<u4", 3)
        expected = np.frombuffer(data, "<f4", n * per_block, 12 + n * block_bytes).reshape(n, per_block)
        with np.errstate(all="ignore"):
            name = path.stem.upper()
            found = blocks.decode(name, np.frombuffer(data, np.uint8, n * block_bytes, 12), (n, per_block))
            magnitude = np.abs(found) + np.abs(found).max(axis=1, keepdims=True)  # differences of scales cancel
            close = np.abs(found - expected) <= 2.0**-23 * magnitude
            close |= found.astype(np.float32) == expected
        assert (close | ~np.isfinite(expected)).all(), f"{name}: {np.argwhere(~close)[:3]}"
        assert np.isfinite(expected).mean() > 0.5, name
    print(f"{len(files)} block formats")


def check_linear_mixer():
    """Against the operators behind the golden vectors: every mixer, both gates, more value heads than key heads, values
    wider than keys."""
    d = Draw("mixer")
    x = d.normal(9, 12)
    for mixer, lower_bound, neg_eigval, act in (
        ("kda", None, False, "sigmoid"), ("kda", -5.0, True, "silu"), ("gdn", None, True, "none"),
        ("deltanet", None, False, "sigmoid"), ("mamba2", None, False, "sigmoid"), ("gla", None, False, "sigmoid"),
        ("linear", None, False, "sigmoid"),
    ):
        c = Config(1, 12, 0, 1e-5, 1e-5, False, heads=2, v_heads=4, k_dim=6, v_dim=8, use_conv=False,
                   lower_bound=lower_bound, neg_eigval=neg_eigval, gate_act=act)
        n_decay = 1 if mixer in ("gdn", "mamba2") else 6
        w = {"q": d.normal(12, 12), "k": d.normal(12, 12), "v": d.normal(32, 12), "beta": d.normal(4, 12),
             "dt_bias": d.steps(4 * n_decay), "rate": np.exp(d.rates(4)), "g": d.normal(32, 12),
             "o_norm": 1 + d.normal(8) / 9, "o": np.eye(32)}
        f_a, f_b = d.normal(5, 12), d.normal(4 * n_decay, 5)
        w |= {"f_a": f_a, "f_b": f_b} if n_decay > 1 else {"a": f_b @ f_a}
        q, k, v = (around.swiglu(dict(gate=x @ w[name].T, up=1.0), {})["y"].reshape(9, -1, n)
                   for name, n in (("q", 6), ("k", 6), ("v", 8)))
        inputs = dict(q=q, k=k, v=v)
        opt = dict(qk_l2norm=True, rule=delta.RULE_ADD)
        if mixer not in ("deltanet", "linear"):
            raw = (x @ f_a.T @ f_b.T).reshape((9, 4, 6) if n_decay > 1 else (9, 4))
            inputs |= dict(g=raw, A_log=np.log(w["rate"]), dt_bias=w["dt_bias"].reshape(raw.shape[1:]))
            gate = delta.GATE_SOFTPLUS if lower_bound is None else delta.GATE_BOUNDED
            opt |= dict(gate=gate, lower_bound=lower_bound)
        if mixer in ("kda", "gdn", "deltanet"):
            inputs["beta"] = x @ w["beta"].T
            opt |= dict(rule=delta.RULE_DELTA, beta_sigmoid=True, beta_double=neg_eigval)
        if mixer == "mamba2":
            inputs["beta"] = np.log1p(np.exp(raw + w["dt_bias"]))
        norm = dict(x=delta.kda(inputs, opt)["o"], w=w["o_norm"])
        if act != "none":
            norm["z"] = (x @ w["g"].T).reshape(9, 4, 8)
        y = around.rmsnorm(norm, {"act": ("none", "sigmoid", "silu").index(act)})["y"]
        near(forward.linear_mixer(c, w.get, x, mixer), y.reshape(9, 32))


def check_short_conv():
    d = Draw("conv")
    x, w, bias = d.normal(7, 5), d.normal(5, 4), d.normal(5)
    near(forward.short_conv(x, w, bias), around.short_conv(dict(x=x, w=w, bias=bias), {})["y"])
    near(forward.short_conv(x[:2], w, None), around.short_conv(dict(x=x[:2], w=w), {})["y"])


def check_mla():
    """Against absorbed attention over a cache of latents."""
    d = Draw("mla")
    c = Config(1, 12, 0, 1e-5, 1e-5, False, mla_heads=3, nope_dim=4, rope_dim=2, mla_v_dim=5, kv_rank=6)
    w = {"q": d.normal(18, 12), "kv_a": d.normal(8, 12), "kv_norm": 1 + d.normal(6) / 9, "kv_b": d.normal(27, 6),
         "o": np.eye(15)}
    x = d.normal(8, 12)
    latent = x @ w["kv_a"].T
    normed = around.rmsnorm(dict(x=latent[:, :6], w=w["kv_norm"]), {})["y"]
    kv_b = w["kv_b"].reshape(3, 9, 6)
    inputs = dict(q=(x @ w["q"].T).reshape(8, 3, 6), cache=np.concatenate([normed, latent[:, 6:]], axis=1),
                  w_uk=kv_b[:, :4], w_uv=kv_b[:, 4:])
    near(forward.mla_mixer(c, w.get, x), attend.mla(inputs, {"causal": True})["o"].reshape(8, 15))


def check_rotation():
    """Against the operator; turning keeps lengths; scores depend on the distance alone."""
    x = np.tile(Draw("rope").normal(2, 8)[None], (6, 1, 1))
    c = types.SimpleNamespace(use_rope=True, rope_dim=8, rope_theta=100.0, rope_interleave=False)
    y = forward.rotate(c, x)
    near(np.linalg.norm(y, axis=-1), np.linalg.norm(x, axis=-1))
    near(y[3, 0] @ y[1, 1], y[5, 0] @ y[3, 1])
    assert abs(y[3, 0] @ y[1, 1] - y[4, 0] @ y[1, 1]) > 1e-3
    x = Draw("more").normal(6, 2, 8)
    for c.rope_interleave in (False, True):
        expected = attend.rope(dict(x=x, position=np.arange(6)), {"base": 100.0, "interleaved": c.rope_interleave})
        near(forward.rotate(c, x), expected["x_out"])


def check_router():
    d = Draw("router")
    z, bias = d.normal(50, 12), d.normal(12) / 3
    for score, code in (("sigmoid", around.SCORE_SIGMOID), ("softmax", around.SCORE_SOFTMAX)):
        for n_group, topk_group, renormalise in ((1, 1, True), (4, 2, True), (3, 1, False)):
            c = types.SimpleNamespace(score=score, n_group=n_group, topk_group=topk_group, topk=3, biased_weights=False,
                                      renormalise=renormalise, scale=2.446)
            opt = dict(score=code, n_group=n_group, topk_group=topk_group, topk=3, renormalise=renormalise, scale=2.446)
            expected = around.router(dict(logits=z, bias=bias), opt)
            ids, weight = forward.route(c, z, bias)
            assert (ids == expected["id"]).all()
            near(weight, expected["weight"])


def check_experts():
    """Those of a token that was sent to them, with their weights, and the shared one."""
    d = Draw("experts")
    c = Config(1, 6, 0, 1e-5, 1e-5, False, n_expert=4, topk=2, scale=2.446, n_shared=1)
    w = {"router": d.normal(4, 6), "router_bias": d.normal(4) / 9,
         "w_gate": d.normal(4, 5, 6), "w_up": d.normal(4, 5, 6), "w_down": d.normal(4, 6, 5),
         "shared_gate": d.normal(5, 6), "shared_up": d.normal(5, 6), "shared_down": d.normal(6, 5)}
    x = d.normal(20, 6)
    ids, weight = forward.route(c, x @ w["router"].T, w["router_bias"])
    inputs = dict(x=x, id=ids, weight=weight, **{name: w[name] for name in ("w_gate", "w_up", "w_down")})
    shared = around.swiglu(dict(gate=x @ w["shared_gate"].T, up=x @ w["shared_up"].T), {})["y"] @ w["shared_down"].T
    near(forward.experts(c, w.get, x), around.experts(inputs, {})["y"] + shared)


def make(folder, *options):
    make_tiny_hf.main([str(folder), "--layers", "2", "--ratio", "1", "--hidden", "64", "--kv-rank", "32",
                       "--expert-width", "32", *options])
    return open_weights(folder)


def check_models(scratch):
    tokens = [int(t) for t in Draw("tokens").below(1024, 24)]
    whole = make(scratch / "f32", "--dtype", "f32")
    expected = forward.logits(whole, tokens)
    assert np.isfinite(expected).all() and 0.5 < expected.std() < 2
    near(forward.logits(whole, tokens[:9]), expected[:9])        # nothing looks ahead
    changed = forward.logits(whole, [tokens[0] ^ 1] + tokens[1:])  # and nothing is forgotten at once
    assert (np.abs(changed - expected).max(axis=1) > 1e-3).all()
    near(forward.logits(make(scratch / "shards", "--dtype", "f32", "--shards", "3"), tokens), expected, 0)
    make(scratch / "again", "--dtype", "f32")
    assert filecmp.cmp(scratch / "f32" / "model.safetensors", scratch / "again" / "model.safetensors", shallow=False)
    rounded = forward.logits(make(scratch / "bf16"), tokens)
    error = np.linalg.norm(rounded - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert 1e-4 < np.median(error) < 0.05, error  # most tokens: a choice of experts may flip for some
    # Every option changes the numbers.
    for option in ("--mixer gdn", "--mixer deltanet", "--mixer mamba2", "--mixer gla", "--mixer linear",
                   "--gate-act silu", "--gate-act none", "--rope", "--v-heads 4", "--expand-v 2",
                   "--lower-bound -5", "--q-lora 48", "--groups 4 --topk-group 2", "--no-conv", "--conv-bias",
                   "--neg-eigval", "--full-gate", "--all-mla",
                   "--softmax-router", "--no-renormalise", "--tied", "--ratio -1", "--shared 0", "--experts 0"):
        other = forward.logits(make(scratch / option.replace(" ", "")[2:], *option.split()), tokens)
        assert np.isfinite(other).all() and np.abs(other - rounded).max() > 1e-2, option


def check_defaults(scratch):
    """What an older or derived configuration leaves out or calls otherwise."""
    c = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2,
         "layer_types": ["linear_attention", "full_attention"], "mlp_layer_types": ["dense", "sparse"],
         "n_routed_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": False,
         "linear_head_dim": 4, "linear_num_heads": 2, "linear_conv_kernel_dim": 3}
    found = from_hf(c)
    assert found.mixer == ["kda", "mla"] and found.is_sparse == [False, True] and found.eps == 1e-6
    assert (found.n_expert, found.topk, found.renormalise, found.k_dim, found.taps) == (4, 2, False, 4, 3)
    header = Safetensors(scratch / "f32").tensors
    assert header["model.layers.0.self_attn.A_log"][1] == [1, 1, 2, 1]
    assert header["model.layers.0.self_attn.q_conv1d.weight"][1] == [64, 1, 4]


def main():
    scratch = pathlib.Path(sys.argv[1])
    check_blocks()
    check_linear_mixer()
    check_short_conv()
    check_mla()
    check_rotation()
    check_router()
    check_experts()
    check_models(scratch)
    check_defaults(scratch)


if __name__ == "__main__":
    main()
