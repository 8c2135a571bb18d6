#!/usr/bin/python3
"""klinear logits against the float64 model: every variant of the architecture, both kinds of file, prompts cut in every
way, tokens read one by one, threads, instruction sets, cache types.

    check_logits.py PROGRAM SCRATCH_FOLDER [all]

With "all" one variant after the other; otherwise several in one model.
"""
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_tiny_hf  # noqa: E402
from reference.draw import Draw  # noqa: E402
from reference.model import forward  # noqa: E402
from reference.model.weights import open_weights  # noqa: E402

PROGRAM, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
TOKENS = [int(t) for t in Draw("tokens").below(1024, 150)]
COMBINED = (
    "", "--shards 3 --dtype f32", "--mixer gdn --rope --q-lora 48 --tied --no-conv",
    "--all-mla --groups 4 --topk-group 2", "--v-heads 4 --expand-v 2 --lower-bound -5 --full-gate --conv-bias --taps 3",
    "--mixer mamba2 --softmax-router --no-renormalise --shared 2",
    "--ratio -1 --experts 0 --neg-eigval --gate-act silu",
)
SINGLE = (
    "", "--shards 3", "--dtype f32", "--mixer gdn", "--mixer deltanet", "--mixer mamba2", "--mixer gla",
    "--mixer linear", "--all-mla", "--ratio -1", "--rope", "--q-lora 48", "--tied", "--no-conv", "--conv-bias --taps 3",
    "--neg-eigval", "--full-gate", "--gate-act silu", "--gate-act none", "--lower-bound -5", "--v-heads 4",
    "--expand-v 2", "--softmax-router", "--no-renormalise", "--groups 4 --topk-group 2", "--shared 0", "--shared 2",
    "--experts 0", "--dense 0 --moe-every 2", "--mixer gdn --rope --q-lora 48 --tied --no-conv",
)


def make(name, options):
    folder = SCRATCH / name
    make_tiny_hf.main([str(folder), "--layers", "3", "--ratio", "2", "--hidden", "64", "--kv-rank", "32",
                       "--expert-width", "32", *options.split()])
    return folder


def logits(model, *options, tokens=TOKENS):
    """What the program says; the cache is f32 unless told otherwise."""
    out = SCRATCH / "logits"
    options = ["--cache-type", "f32", *options]
    ids = ",".join(map(str, tokens))
    done = subprocess.run([PROGRAM, "logits", "-m", model, "--tokens", ids, "-o", out, *options], capture_output=True)
    assert done.returncode == 0 and not done.stdout and not done.stderr, f"{options}: {done}"
    return np.fromfile(out, "<f4").reshape(-1, 1024).astype(np.float64)


def error(found, expected):
    assert found.shape == expected.shape, f"{found.shape}, expected {expected.shape}"
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def near(found, expected, tolerance, what):
    e = error(found, expected)
    assert e <= tolerance, f"{what}: the relative error is {e:.3g}, expected at most {tolerance:g}"


def check_variants(variants):
    for options in variants:
        folder = make("model", options)
        expected = forward.logits(open_weights(folder), TOKENS)
        near(logits(folder), expected, 1e-5, options)
        near(logits(folder, "--decode", "75"), expected, 1e-5, options + ", half of it decoded")
        for file in folder.glob("*"):
            file.unlink()
    print(f"{len(variants)} variants")


def check_gguf():
    """Products with q8_0 are in integers, for which the other operand is rounded to 8 bits: enough to turn the choice
    of an expert now and then, so most rows are near, and all of them without experts."""
    for options, tolerance in (("--gguf f32", 1e-5), ("--gguf q8_0 --experts 0", 1e-2)):
        folder = make("gguf", "--dtype f32 " + options)
        expected = forward.logits(open_weights(folder / "model.gguf"), TOKENS)
        near(logits(folder / "model.gguf"), expected, tolerance, options)
        if options == "--gguf f32":
            near(logits(folder), expected, 1e-5, "the same model, twice")
    folder = make("gguf", "--dtype f32 --gguf q8_0")
    expected = forward.logits(open_weights(folder / "model.gguf"), TOKENS)
    rows = np.linalg.norm(logits(folder / "model.gguf") - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.median(rows) < 1e-2, f"half of the rows have errors above {np.median(rows):.3g}"


def check_ways():
    """One model, read in every way."""
    folder = make("ways", "")
    expected = forward.logits(open_weights(folder), TOKENS)
    whole = logits(folder)
    for batch in ("64", "128", "192"):
        assert (logits(folder, "--batch", batch) == whole).all(), f"batches of {batch} give other bits"
    for threads in ("1", "2", "3"):
        assert (logits(folder, "--threads", threads) == whole).all(), f"{threads} threads give other bits"
    for batch in ("1", "7", "100", "150"):
        near(logits(folder, "--batch", batch), expected, 1e-5, f"batches of {batch}")
    near(logits(folder, "--decode", "150"), expected, 1e-5, "all decoded")
    near(logits(folder, "--isa", "ref"), expected, 1e-5, "plain C")
    assert (logits(folder, "--last") == whole[-1:]).all(), "--last is not the last row"
    assert (logits(folder, tokens=TOKENS[:128]) == whole[:128]).all(), "a shorter prompt gives other bits"


def check_caches():
    """Without experts, whose choice may turn on a rounding."""
    folder = make("caches", "--experts 0 --rope-dim 32")
    expected = forward.logits(open_weights(folder), TOKENS)
    for kind, least, most in (("f32", 0, 1e-5), ("bf16", 1e-5, 5e-3), ("q8_0", 1e-5, 1e-2)):
        e = error(logits(folder, "--cache-type", kind), expected)
        assert least <= e <= most, f"a cache of {kind}: the relative error is {e:.3g}"


def check_biased_router():
    folder = make("biased", "")
    weights = open_weights(folder)
    unbiased = forward.logits(weights, TOKENS)
    weights.config.biased_weights = True
    expected = forward.logits(weights, TOKENS)
    near(logits(folder, "--biased-router"), expected, 1e-5, "--biased-router")
    assert error(unbiased, expected) > 1e-3


def main():
    if sys.argv[3:] == ["all"]:
        check_variants(SINGLE)
        return
    check_variants(COMBINED)
    check_gguf()
    check_ways()
    check_caches()
    check_biased_router()


if __name__ == "__main__":
    main()
