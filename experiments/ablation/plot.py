#!/usr/bin/env python3
"""Draws held.svg out of results.csv and length.svg out of perplexity.csv, and prints the tables of the page."""
import csv
import math
import os
import sys
from collections import defaultdict

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tools"))
import svg_chart  # noqa: E402

NAMES = {"3to1": "3:1, sigmoid, conv", "0to1": "0:1 (all MLA)", "1to1": "1:1", "7to1": "7:1",
         "gate-none": "no output gate", "gate-silu": "SiLU output gate", "no-conv": "no convolution",
         "rope": "RoPE in MLA"}
# Two-sided 95 % points of Student's t.
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26, 10: 2.23, 12: 2.18, 16: 2.12}


def rows(file):
    path = os.path.join(HERE, file)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def mean(x):
    return sum(x) / len(x)


losses, held = defaultdict(lambda: defaultdict(list)), defaultdict(dict)
for row in rows("results.csv"):
    variant, seed = row["run"].rsplit("-", 1)
    losses[variant][seed].append(float(row["loss"]))
    if row["valid"]:
        held[variant][seed] = float(row["valid"])
train = {v: [mean(x[-10:]) for x in seeds.values()] for v, seeds in losses.items()}
value = {v: list(held[v].values()) for v in NAMES if v in held}

# A seed sets the order of the data, which helps or hurts all variants alike: they are compared seed by seed.  How much
# these differences scatter is estimated from all variants together.
apart = {v: [held[v][s] - held["3to1"][s] for s in held[v] if s in held["3to1"]] for v in value if v != "3to1"}
free = sum(len(x) - 1 for x in apart.values())
spread = math.sqrt(sum((y - mean(x)) ** 2 for x in apart.values() for y in x) / free) if free else float("nan")
t95 = T95[max(k for k in T95 if k <= free)] if free else float("nan")
print("| variant | seeds | train, last 10 steps | held back, nats a token | against 3:1, same seed | significant |")
print("|---|---|---|---|---|---|")
for v, x in value.items():
    shown = verdict = ""
    if v != "3to1":
        off, error = mean(apart[v]), t95 * spread / math.sqrt(len(apart[v]))
        verdict = "not known" if not free else "yes" if abs(off) > error else "no"
        shown = f"{off:+.3f} +- {error:.3f}"
    each = " ".join(f"{y:.3f}" for y in x)
    print(f"| {NAMES[v]} | {len(x)} | {mean(train[v]):.3f} | {each} | {shown} | {verdict} |")
print(f"\nDifferences scatter by {spread:.3f} nats between seeds ({free} degrees of freedom, all variants together).")
svg_chart.save_dots(os.path.join(HERE, "held.svg"), "held-back text, each seed a dot",
                    [(NAMES[v], x) for v, x in value.items()], "nats a token")

window = defaultdict(lambda: defaultdict(list))
for row in rows("perplexity.csv"):
    variant, _, times = row["run"].rsplit("-", 2)
    window[variant][128 * int(times[1:])].append(float(row["nats_per_token"]))
if window:
    print("\n| read at once | " + " | ".join(NAMES[v] for v in window) + " |\n|---|" + "---|" * len(window))
    for n in sorted(next(iter(window.values()))):
        print(f"| {n} | " + " | ".join(" ".join(f"{y:.3f}" for y in window[v][n]) for v in window) + " |")
    lines = {NAMES[v]: [(n, mean(x)) for n, x in sorted(by.items())] for v, by in window.items()}
    svg_chart.save(os.path.join(HERE, "length.svg"),
                   [svg_chart.Panel("learnt at 128", lines, "tokens of a window", "nats a token", log=True)], width=480)
