#!/usr/bin/env python3
"""Draws steps.svg and length.svg out of results.csv, and prints the table of the page."""
import csv
import os
import sys
from collections import defaultdict

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tools"))
import svg_chart  # noqa: E402

TASKS = ("mqar", "palindrome", "stack")
MIXERS = ("kda", "gdn", "mamba2", "deltanet", "gla", "linear", "softmax")

curve = defaultdict(list)  # (task, mixer, length, rate, seed) -> [(step, accuracy)]
with open(os.path.join(HERE, "results.csv"), encoding="utf-8", newline="") as f:
    for row in csv.DictReader(f):
        task, mixer, length, rate, seed = row["run"].split("-")
        curve[task, mixer, int(length), float(rate), seed].append((int(row["step"]), float(row["accuracy"])))


def runs(task, mixer, length):
    return {key: c for key, c in curve.items() if key[:3] == (task, mixer, length)}


def best(task, mixer, length):
    """The run with the highest accuracy over learning rates and seeds."""
    found = runs(task, mixer, length)
    return max(found.values(), key=lambda c: max(a for _, a in c)) if found else None


def first(c, level):
    return next((step for step, a in c if a >= level), None)


panels = []
for task in TASKS:
    lines = {m: curve[task, m, 128, 0.005, "s1"] for m in MIXERS if (task, m, 128, 0.005, "s1") in curve}
    panels.append(svg_chart.Panel(task + ", length 128", lines, "steps of 2048 tokens", "accuracy", 0, 1))
for task in TASKS:
    lines = {m: curve[task, m, 256, 0.001, "s1"] for m in MIXERS if (task, m, 256, 0.001, "s1") in curve}
    panels.append(svg_chart.Panel(task + ", length 256, heads of 128", lines, "steps of 2048 tokens", "accuracy", 0, 1))
svg_chart.save(os.path.join(HERE, "steps.svg"), panels)

panels = []
for task in TASKS:
    lines = {}
    for m in MIXERS[:3]:
        points = [(n, max(a for _, a in best(task, m, n))) for n in (64, 128) if best(task, m, n)]
        if len(points) > 1:
            lines[m] = points
    if lines:
        panels.append(svg_chart.Panel(task, lines, "length", "highest accuracy", 0, 1, log=True))
svg_chart.save(os.path.join(HERE, "length.svg"), panels)

print("| task | length | mixer | rate | seed | highest accuracy | steps to 50 % | to 90 % | of |")
print("|---|---|---|---|---|---|---|---|---|")
for task in TASKS:
    for length in (64, 128, 256):
        for m in MIXERS:
            for (_, _, _, rate, seed), c in sorted(runs(task, m, length).items()):
                print(f"| {task} | {length} | {m} | {rate:g} | {seed[1:]} | {max(a for _, a in c):.3f} | "
                      f"{first(c, 0.5) or '-'} | {first(c, 0.9) or '-'} | {c[-1][0]} |")
