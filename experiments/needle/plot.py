#!/usr/bin/env python3
"""Draws learning.svg out of results.csv, and found.svg out of found.jsonl, which `klinear needle --json` printed."""
import csv
import json
import os
import sys
from collections import defaultdict

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tools"))
import svg_chart  # noqa: E402

curve = defaultdict(list)
with open(os.path.join(HERE, "results.csv"), encoding="utf-8", newline="") as f:
    for row in csv.DictReader(f):
        curve[row["run"]].append((int(row["step"]), float(row["accuracy"])))
svg_chart.save(os.path.join(HERE, "learning.svg"),
               [svg_chart.Panel("needles, length 64", dict(curve), "steps of 2048 tokens", "found", 0, 1)], width=480)

with open(os.path.join(HERE, "found.jsonl"), encoding="utf-8") as f:
    rows = [json.loads(line) for line in f]
models = list(dict.fromkeys(r["model"] for r in rows))
found, memory, step = {}, {}, {}
for m in models:
    name = m.removesuffix("-bf16.gguf")
    mine = [r for r in rows if r["model"] == m]
    found[name] = [(r["length"], r["found"] / r["asked"]) for r in mine]
    memory[name] = [(r["length"], r["bytes"] / 1024) for r in mine]
    step[name] = [(r["length"], 1e6 * r["question_seconds"]) for r in mine]
svg_chart.save(os.path.join(HERE, "found.svg"),
               [svg_chart.Panel("found", found, "length", "part of the values", 0, 1, log=True),
                svg_chart.Panel("memory of a sequence", memory, "length", "KiB", 0, log=True),
                svg_chart.Panel("time of a question", step, "length", "us", 0, log=True)], width=340)
