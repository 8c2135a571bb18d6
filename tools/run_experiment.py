#!/usr/bin/env python3
"""Runs an experiment that a folder describes, and gathers its rows.

    tools/run_experiment.py experiments/NAME [--klinear PATH] [--work DIR] [--threads N]

experiments/NAME/runs has a run in each line: its name, then the words of the command behind `klinear`.  In a word
{work} is a folder for what need not be kept, and {here} the experiment's own folder.  A run whose rows
experiments/NAME/results.csv already has is left out, so that an interrupted experiment goes on where it was, and lines
may be added while it goes.  A recipe that was interrupted goes on in its folder in {work}; one that is left over from
another run is refused, since its rows would be taken for new ones.  What klinear perplexity says goes to
perplexity.csv, which has other columns.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import time


def read_runs(folder):
    with open(os.path.join(folder, "runs"), encoding="utf-8") as f:
        lines = [line.split() for line in f if line.strip() and not line.startswith("#")]
    names = [line[0] for line in lines]
    doubled = {n for n in names if names.count(n) > 1}
    if doubled:
        sys.exit(f"{folder}/runs: {sorted(doubled)[0]} is there twice")
    return {line[0]: line[1:] for line in lines}


def done(folder):
    names = set()
    for file in ("results.csv", "perplexity.csv"):
        path = os.path.join(folder, file)
        if os.path.exists(path):
            with open(path, encoding="utf-8", newline="") as f:
                names |= {row[0] for row in csv.reader(f)}
    return names


def is_recipe(words):
    return words[0] == "train" and words[1:2] != ["task"]


def rows_of(name, words, work, output):
    """The rows that the run made, the heading first.  A task writes WORK/NAME.csv, a recipe WORK/NAME/log.csv."""
    if words[0] == "perplexity":
        found = json.loads(output)
        return [list(found), [str(value) for value in found.values()]]
    path = os.path.join(work, name, "log.csv") if is_recipe(words) else os.path.join(work, name + ".csv")
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.reader(f))


def begin_recipe(output, words):
    """Notes beside the output folder what runs in it, until end_recipe(): only that may go on there."""
    note = output + ".words"
    known = open(note, encoding="utf-8").read() if os.path.exists(note) else None
    if os.path.exists(output) and known != " ".join(words):
        sys.exit(f"{output}: is left over from another run; remove it, or choose another --work")
    with open(note, "w", encoding="utf-8") as f:
        f.write(" ".join(words))


def end_recipe(output):
    os.remove(output + ".words")


def run(folder, name, words, a):
    fill = {"work": a.work, "here": folder}
    output = os.path.join(a.work, name)
    command = [a.klinear] + [w.format(**fill) for w in words]
    if words[:2] == ["train", "task"]:
        command += ["--csv", output + ".csv", "--threads", str(a.threads)]
    elif is_recipe(words):
        begin_recipe(output, words)
        command += ["--set", "output=" + output, "--set", f"threads={a.threads}"]
    else:
        command += ["--threads", str(a.threads)]
    began = time.time()
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    if made.returncode:
        sys.exit(f"{name}: {' '.join(command)} ended with {made.returncode}")
    rows = rows_of(name, words, a.work, made.stdout)
    results = os.path.join(folder, "perplexity.csv" if words[0] == "perplexity" else "results.csv")
    fresh = not os.path.exists(results)
    with open(results, "a", encoding="utf-8", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        if fresh:
            out.writerow(["run"] + rows[0])
        out.writerows([name] + row for row in rows[1:])
    if is_recipe(words):
        end_recipe(output)
    print(f"{name}: {time.time() - began:.0f} s, {','.join(rows[-1])}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder")
    p.add_argument("--klinear", default="build/release/klinear")
    p.add_argument("--work", default="/tmp/klinear-experiment")
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    while True:
        have = done(a.folder)
        left = [(n, w) for n, w in read_runs(a.folder).items() if n not in have]
        if not left:
            break
        run(a.folder, *left[0], a)


if __name__ == "__main__":
    main()
