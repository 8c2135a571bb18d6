#!/usr/bin/python3
"""How far logits are from those that are right: files of float32 little-endian [T][vocab].

    compare_logits.py FOUND EXPECTED [--vocab N] [--tolerance X]

Prints the largest absolute difference, the relative error ||found - expected|| / ||expected||, and, with --vocab, the
largest relative error of a row, the mean and the largest KL(expected || found) in nats, and how often both have the
same largest logit.  Exit 1 when a number is not finite or the relative error exceeds --tolerance.
"""
import argparse
import sys

import numpy as np


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def measure(found, expected):
    """{name: number} for arrays of equal shape: [T][vocab], or flat."""
    difference = found - expected
    m = {
        "max_abs": np.abs(difference).max(initial=0.0),
        "relative": np.linalg.norm(difference) / max(np.linalg.norm(expected), 1e-300),
    }
    if found.ndim == 2 and len(found):
        rows = np.linalg.norm(difference, axis=1) / np.maximum(np.linalg.norm(expected, axis=1), 1e-300)
        p, q = log_softmax(expected), log_softmax(found)
        kl = (np.exp(p) * (p - q)).sum(1)
        m |= {"worst_row": rows.max(), "kl_mean": kl.mean(), "kl_max": kl.max()}
        m["top1"] = (found.argmax(1) == expected.argmax(1)).mean()
    return m


def report(found, expected, tolerance=None):
    """Prints the measures; returns the exit status."""
    if not np.isfinite(found).all():
        print(f"{np.count_nonzero(~np.isfinite(found))} of {found.size} numbers are not finite")
        return 1
    m = measure(found, expected)
    print("  ".join(f"{name} {value:.4g}" for name, value in m.items()))
    if tolerance is not None and not m["relative"] <= tolerance:
        print(f"the relative error is {m['relative']:.4g}, expected at most {tolerance:g}")
        return 1
    return 0


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("found")
    a.add_argument("expected")
    a.add_argument("--vocab", type=int)
    a.add_argument("--tolerance", type=float)
    a = a.parse_args()
    found, expected = (np.fromfile(path, "<f4").astype(np.float64) for path in (a.found, a.expected))
    if found.size != expected.size or (a.vocab and found.size % a.vocab):
        sys.exit(f"{a.found} holds {found.size} numbers, {a.expected} {expected.size}, a row {a.vocab or 'any'}")
    if a.vocab:
        found, expected = found.reshape(-1, a.vocab), expected.reshape(-1, a.vocab)
    sys.exit(report(found, expected, a.tolerance))


if __name__ == "__main__":
    main()
