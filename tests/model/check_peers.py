#!/usr/bin/python3
"""Files as another engine expects them, written by a script that knows nothing of this library: they open and run, with
the logits of the float64 model; and where that engine is at hand, its own logits.

    check_peers.py PROGRAM SCRATCH_FOLDER MAKE_GGUF reference PRESET TYPE ..
    check_peers.py PROGRAM SCRATCH_FOLDER MAKE_GGUF rival RIVAL

A TYPE that begins with "legacy-" has the older form of the latent matrices.  RIVAL is the other engine's program:
RIVAL -m MODEL -o FILE -n TOKENS -seed N -kv f32 -fa 0 writes int32 [magic, tokens, vocabulary, 0], the ids, and
float32 [tokens][vocabulary].
"""
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from reference.draw import Draw  # noqa: E402
from reference.model import forward  # noqa: E402
from reference.model.weights import open_weights  # noqa: E402

PROGRAM, SCRATCH, MAKER = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]


def call(*command, text=None):
    done = subprocess.run([str(word) for word in command], capture_output=True, input=text)
    assert done.returncode == 0, f"{command}: {done.returncode}, {done.stderr.decode()[-500:]}"
    return done


def make(preset, kind, *options):
    path = SCRATCH / "peer.gguf"
    if kind.startswith("legacy-"):
        options += ("--legacy-kv-b",)
    kind = kind.removeprefix("legacy-")
    call(sys.executable, MAKER, "--preset", preset, "--type", kind, "--out", path, *options)
    return path


def logits(model, tokens, *options):
    out = SCRATCH / "logits"
    call(PROGRAM, "logits", "-m", model, "--tokens", ",".join(map(str, tokens)), "-o", out, *options)
    return np.fromfile(out, "<f4").reshape(len(tokens), -1).astype(np.float64)


def error(found, expected):
    assert found.shape == expected.shape, f"{found.shape}, expected {expected.shape}"
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def check_reference(preset, kinds):
    tokens = [int(t) for t in Draw("peers").below(1000, 12 if preset != "tiny" else 40)]
    for kind in kinds:
        model = make(preset, kind)
        e = error(logits(model, tokens), forward.logits(open_weights(model), tokens))
        assert e <= 1e-5, f"{preset} {kind}: the relative error is {e:.3g}, expected at most 1e-5"
        said = call(PROGRAM, "run", "-m", model, "-p", "The capital of France", "-n", "4")
        assert said.stdout, f"{preset} {kind}: no text"
        print(f"{preset} {kind}: relative error {e:.2g}")


def rival_logits(rival, model):
    out = SCRATCH / "rival"
    call(rival, "-m", model, "-o", out, "-n", "64", "-seed", "1", "-kv", "f32", "-fa", "0")
    n, vocab = (int(x) for x in np.fromfile(out, "<i4", 4)[1:3])
    ids = np.fromfile(out, "<i4", n, offset=16)
    return ids, np.fromfile(out, "<f4", n * vocab, offset=16 + 4 * n).reshape(n, vocab).astype(np.float64)


def check_rival(rival):
    """Quantised products round the activations, here and there alike; for q4_k the rival does so in blocks of 256.
    With a choice of experts such a rounding can turn the choice; so all experts are used in the models that are held to
    a number, and with a choice the distance is held to that between this library's own two ways of computing."""
    all_used = ("--experts", "4", "--used", "4")
    for preset, kind, options, most in (
        ("tiny", "f32", (), 1e-4), ("small", "f32", all_used, 1e-4),
        ("tiny", "bf16", all_used, 4e-2), ("tiny", "q8_0", all_used, 4e-2), ("tiny", "q4_0", all_used, 4e-2),
        ("tiny", "q4_k", all_used, 7e-2), ("small", "q8_0", all_used, 4e-2), ("small", "q4_k", all_used, 7e-2),
        ("tiny", "q8_0", (), None), ("tiny", "q4_k", (), None), ("small", "q4_k", (), None),
    ):
        model = make(preset, kind, *options)
        ids, expected = rival_logits(rival, model)
        exact, fast = logits(model, ids), logits(model, ids, "--arithmetic", "fast")
        distance, own = error(exact, expected), error(fast, exact)
        limit = most or 2 * own
        for found, name in ((exact, "exact"), (fast, "fast")):
            e = error(found, expected)
            assert e <= limit, f"{preset} {kind} {options} {name}: {e:.3g} from the rival, expected at most {limit:.3g}"
        print(f"{preset} {kind}{' all experts' if options else ''}: {distance:.2g} from the rival, {own:.2g} between "
              "fast and exact")


def main():
    if sys.argv[4] == "reference":
        check_reference(sys.argv[5], sys.argv[6:])
    else:
        check_rival(sys.argv[5])


if __name__ == "__main__":
    main()
