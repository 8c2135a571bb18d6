#!/usr/bin/env python3
"""How far the fast paths are from exact arithmetic on the same file, and how far llama.cpp is.

    tools/quant_accuracy.py [--klinear PROGRAM] [--peer PEER_LOGITS] [--tokens N] [--seed N] [--threads N]
                            [--caches LIST] [--csv OUT] FILE.gguf ...

For each file the logits of N random tokens are made by `klinear logits` in exact arithmetic (weights dequantised, all
products in f32, f32 cache), then by the fast path with each type of cache, and by PEER where it is given.  Printed per
path: KL(exact || path) in nats, mean with its standard error and 99th percentile over tokens; how often the most likely
token is the same; the largest difference of a logit against the spread of the exact ones.  `bench/accuracy.sh` keeps
the rows."""
import argparse
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()[-500:]}")


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def compare(exact, other, n):
    """Chunk by chunk, as both are large."""
    kl, same, worst, spread = [], 0, 0.0, float(np.std(exact[:64]))
    for i in range(0, n, 64):
        a, b = exact[i:i + 64], other[i:i + 64]
        p, q = log_softmax(a), log_softmax(b)
        kl.append((np.exp(p) * (p - q)).sum(axis=1))
        same += int((a.argmax(axis=1) == b.argmax(axis=1)).sum())
        worst = max(worst, float(np.abs(a - b).max()))
    kl = np.concatenate(kl)
    return kl.mean(), kl.std(ddof=1) / np.sqrt(n), np.quantile(kl, 0.99), same / n, worst / spread


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--klinear", default="build/release/klinear")
    parser.add_argument("--peer", help="program called as PEER logits FILE IDS.i32 OUT.f32 -t THREADS: ids and logits"
                        " are little-endian, logits [tokens][vocabulary]")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="of the tokens")
    parser.add_argument("--vocab", type=int, default=32768)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--caches", default="f32,bf16,q8_0", help="types of the cache that are tried")
    parser.add_argument("--csv", help="a file to which the rows are written, too")
    parser.add_argument("file", nargs="+")
    o = parser.parse_args()
    ids = np.random.default_rng(o.seed).integers(256, o.vocab - 300, o.tokens)
    with tempfile.TemporaryDirectory() as folder:
        text, binary = os.path.join(folder, "ids"), os.path.join(folder, "ids.i32")
        with open(text, "w", encoding="ascii") as f:
            f.write(" ".join(map(str, ids)))
        with open(binary, "wb") as f:
            f.write(struct.pack(f"<{o.tokens}i", *ids))

        def logits(name, command):
            out = os.path.join(folder, name)
            run(command + ([out] if command[-1] == "-o" else []))
            return np.memmap(out, np.float32, "r").reshape(o.tokens, -1)

        print(f"{'file':<18} {'path':<22} {'KL mean':>10} {'+-':>9} {'KL 99 %':>10} {'top-1':>8} {'largest':>8}")
        for file in o.file:
            base = [o.klinear, "logits", "-m", file, "--tokens-file", text, "--threads", str(o.threads)]
            exact = logits("exact", base + ["--arithmetic", "exact", "--cache-type", "f32", "-o"])
            paths = {f"klinear, {t} cache": base + ["--arithmetic", "fast", "--cache-type", t, "-o"]
                     for t in o.caches.split(",")}
            if o.peer:
                out = os.path.join(folder, "peer")
                paths["llama.cpp, f16 cache"] = [o.peer, "logits", file, binary, out, "-t", str(o.threads)]
            for name, command in paths.items():
                other = logits("peer" if "llama" in name else "path", command)
                mean, error, tail, same, worst = compare(exact, other, o.tokens)
                print(f"{os.path.basename(file):<18} {name:<22} {mean:>10.2e} {error:>9.1e} {tail:>10.2e} {same:>8.2%} "
                      f"{worst:>8.3f}", flush=True)
                if o.csv:
                    with open(o.csv, "a", encoding="ascii") as f:
                        f.write(f"{os.path.basename(file)},{name.replace(',', '')},{o.tokens},{o.seed},{mean:.4e},"
                                f"{error:.2e},{tail:.4e},{same:.5f},{worst:.4f}\n")
                del other


if __name__ == "__main__":
    main()
