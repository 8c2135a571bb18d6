#!/usr/bin/python3
"""Logits of a whole model in float64, by the definitions: the plain recurrence, expanded attention, every expert.

    reference_logits.py MODEL --tokens 1,2,3 -o FILE        writes float32 little-endian [T][vocab], as klinear logits
    reference_logits.py MODEL --tokens 1,2,3 --compare FILE compares FILE with them; see compare_logits.py

MODEL is a folder in Hugging Face layout or a GGUF file.  Needs python3 and numpy; the code is in tools/reference/model.
"""
import argparse
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compare_logits  # noqa: E402
from reference.model.forward import logits  # noqa: E402
from reference.model.weights import open_weights  # noqa: E402


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    ids = a.add_mutually_exclusive_group(required=True)
    ids.add_argument("--tokens", help="ids with commas between them")
    ids.add_argument("--tokens-file", help="ids with white space between them")
    a.add_argument("-o", "--output")
    a.add_argument("--compare", metavar="FILE")
    a.add_argument("--tolerance", type=float, help="the largest relative error of --compare that is no failure")
    a.add_argument("--kv-eps", type=float, help="eps of the norm of the MLA latent; default: that of all others")
    a.add_argument("--biased-router", action="store_true", help="weights of experts include the correction bias")
    return a.parse_args()


def main():
    a = arguments()
    text = a.tokens.replace(",", " ") if a.tokens else pathlib.Path(a.tokens_file).read_text()
    weights = open_weights(a.model)
    weights.config.kv_eps = a.kv_eps or weights.config.kv_eps
    weights.config.biased_weights = a.biased_router
    tokens = [int(word) for word in text.split()]
    if not all(0 <= token < weights.config.vocab for token in tokens):
        sys.exit(f"a token is not in 0 .. {weights.config.vocab - 1}")
    expected = logits(weights, tokens)
    if a.output:
        expected.astype("<f4").tofile(a.output)
    if a.compare:
        found = np.fromfile(a.compare, "<f4")
        if found.size != expected.size:
            sys.exit(f"{a.compare} holds {found.size} numbers, expected {expected.shape[0]} x {expected.shape[1]}")
        sys.exit(compare_logits.report(found.reshape(expected.shape).astype(np.float64), expected, a.tolerance))


if __name__ == "__main__":
    main()
