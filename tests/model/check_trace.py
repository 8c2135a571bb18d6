#!/usr/bin/python3
"""klinear run --trace against the float64 model, which reads the same tokens: betas, decays, attention, experts.  And
the text, and everything that a session remembers, has the same bits with and without.

    check_trace.py PROGRAM SCRATCH_FOLDER
"""
import json
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_tiny_hf  # noqa: E402
from reference.model import forward  # noqa: E402
from reference.model.weights import open_weights  # noqa: E402

PROGRAM, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
PROMPT = "The gate decides how fast a channel forgets, and beta how strongly a token is written. " * 2
VARIANTS = (
    "", "--mixer gdn --rope --q-lora 48 --no-conv", "--v-heads 4 --expand-v 2 --lower-bound -5 --neg-eigval",
    "--mixer mamba2 --softmax-router", "--mixer deltanet --experts 0", "--mixer gla --groups 4 --topk-group 2",
    "--all-mla",
)


def run(model, *options):
    settings = "--raw -n 24 --seed 5 --temperature 1 --cache-type f32 --arithmetic exact -q --json".split()
    done = subprocess.run([PROGRAM, "run", "-m", model, "-p", PROMPT, *settings, *options], capture_output=True)
    assert done.returncode == 0 and not done.stderr, f"{options}: {done}"
    return json.loads(done.stdout)


class Watched:
    """What the layers of the float64 model did, in the order of the layers."""

    def __init__(self, weights, tokens):
        self.linear, self.mla, self.routed = [], [], []
        plain = forward.recurrence, forward.softmax, forward.route
        forward.recurrence = lambda q, k, v, g, beta, erases: (
            self.linear.append((g, beta)), plain[0](q, k, v, g, beta, erases))[1]
        forward.softmax = lambda x: (self.mla.append(plain[1](x)), self.mla[-1])[1]

        def route(c, logits, bias):
            ids, weight = plain[2](c, logits, bias)
            self.mla = [x for x in self.mla if x.ndim == 3]  # a softmax of the router is no attention
            self.routed.append((ids, weight))
            return ids, weight

        forward.route = route
        forward.logits(weights, tokens)
        forward.recurrence, forward.softmax, forward.route = plain


def near(found, expected, tolerance, what):
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    worst = np.abs(found - expected).max()
    assert worst <= tolerance, f"{what}: off by {worst:.3g}, expected at most {tolerance:g}"


def check_recurrent(layer, mixer, g, beta):
    if "beta" in layer:
        near(layer["beta"], beta, 2e-5, f"beta of {mixer}")
    assert ("beta" in layer) == (mixer in ("kda", "gdn", "deltanet", "mamba2")), mixer
    assert ("decay" in layer) == (mixer not in ("deltanet", "linear")), mixer
    if "decay" not in layer:
        return
    near(np.log(layer["decay"]["channels"]), np.log(np.log(2) / -g.mean(axis=0)), 1e-4, f"half-lives of {mixer}")
    octave = np.log2(np.log(2) / -g)
    place = np.clip(np.floor(2 * (octave + 4)), 0, 47).astype(int)
    bins = np.array([np.bincount(place[:, h].ravel(), minlength=48) for h in range(place.shape[1])])
    found = np.array(layer["decay"]["bins"])
    assert (found.sum(axis=1) == bins.sum(axis=1)).all() and np.abs(found - bins).sum() <= 4, "bins"  # on their edges
    for h, half_lives in enumerate(layer["decay"]["half_life"]):
        expected = np.quantile(octave[:, h], [0.05, 0.25, 0.5, 0.75, 0.95], method="inverted_cdf")
        off = np.abs(np.log2(half_lives) - np.clip(expected, -4, 20)).max()
        assert off <= 0.51, f"quantiles of {mixer}, head {h}: off by {off:.2g} octaves"


def check_attention(found, weights):
    row = weights[:, -1].mean(axis=0)
    assert found["query"] == len(row) - 1 and found["first"] == 0 and found["before"] == 0
    near(found["weights"], row, 1e-5, "attention of the last token")
    assert abs(sum(found["weights"]) - 1) < 1e-5
    n_top = 0
    for token, top in enumerate(found["top"]):
        if not top:
            continue
        n_top += 1
        row = weights[:, token].mean(axis=0)
        near([w for _, w in top], np.sort(row)[::-1][: len(top)], 1e-5, f"places of token {token}")
        near([w for _, w in top], row[[p for p, _ in top]], 1e-5, f"places of token {token}")
        assert len(top) == min(8, token + 1)
    assert n_top == 24, n_top  # 23 generated ones were read, and the last of the prompt


def check(options):
    folder = SCRATCH / "model"
    make_tiny_hf.main([str(folder), "--layers", "3", "--ratio", "2", "--hidden", "64", "--kv-rank", "32",
                       "--expert-width", "32", "--dtype", "f32", *options.split()])
    plain = run(folder, "--save-session", SCRATCH / "plain")
    traced = run(folder, "--save-session", SCRATCH / "traced", "--trace", SCRATCH / "trace")
    assert plain["ids"] == traced["ids"] and plain["text"] == traced["text"], options
    assert (SCRATCH / "plain").read_bytes() == (SCRATCH / "traced").read_bytes(), f"{options}: the state has other bits"
    trace = json.loads((SCRATCH / "trace").read_text())
    assert trace["ids"][-23:] == traced["ids"][:23] and "".join(trace["texts"]).startswith(PROMPT)
    assert trace["tokens_seen"] == trace["end"] == len(trace["ids"]) and trace["first"] == 0

    weights = open_weights(folder)
    seen = Watched(weights, trace["ids"])
    for i, layer in enumerate(trace["layers"]):
        mixer = weights.config.mixer[i]
        assert layer["mixer"] == mixer and ("attention" in layer) == (mixer == "mla")
        if mixer == "mla":
            check_attention(layer["attention"], seen.mla.pop(0))
        else:
            check_recurrent(layer, mixer, *seen.linear.pop(0))
        assert ("experts" in layer) == bool(weights.config.is_sparse[i])
        if "experts" in layer:
            ids, weight = seen.routed.pop(0)
            n = weights.config.n_expert
            assert layer["experts"]["count"] == np.bincount(ids.ravel(), minlength=n).tolist(), "experts"
            near(layer["experts"]["weight"], np.bincount(ids.ravel(), weight.ravel(), n), 1e-2, "weights of experts")
    assert not seen.linear and not seen.mla and not seen.routed
    for file in folder.glob("*"):
        file.unlink()


for variant in VARIANTS:
    check(variant)
print(f"{len(VARIANTS)} variants")
