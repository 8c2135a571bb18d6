#!/usr/bin/python3
"""One training step in PyTorch and in klinear: the same model, weights and tokens.

    torch_step.py PROBE CONFIG [--sequences N] [--length L] [--steps S] [--threads P]

PROBE is build/*/tests/step_probe, CONFIG a config.json or a model.  Compares the loss (relative) and every parameter's
gradient (largest difference over the largest number of that gradient), and says how long a step (forward, backward,
clipping, AdamW) takes in each, in turn, PyTorch at the chunk that is fastest for it.  Fails above --loss or --gradient,
and with --times below that ratio.  Needs python3-torch and numpy; the model is in tools/reference/torch_model.py.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("probe")
    a.add_argument("config")
    a.add_argument("--sequences", type=int, default=4)
    a.add_argument("--length", type=int, default=128)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--steps", type=int, default=0, help="steps to time in each of five turns; 0: only compare")
    a.add_argument("--loss", type=float, default=1e-5)
    a.add_argument("--gradient", type=float, default=1e-4)
    a.add_argument("--times", type=float, help="the least ratio of the two times that is no failure")
    return a.parse_args()


def probe(a, folder, steps):
    out = subprocess.run([a.probe, a.config, folder, str(a.sequences), str(a.length), str(a.threads), str(steps)],
                         check=True, capture_output=True, text=True).stdout.split("\n")
    said = [line.split() for line in out if line]
    return float(said[0][1]), [float(value) for key, value in said if key == "seconds"]


def gradients(folder):
    """{name: numbers}, a stack of experts under the name of its first."""
    numbers, start, found = np.fromfile(folder / "gradients", "<f4"), 0, {}
    for line in (folder / "gradients.txt").read_text().splitlines():
        name, n = line.split()
        found[name] = numbers[start : start + int(n)]
        start += int(n)
    return found


def same_of(model, name):
    """The gradient that autograd found for what the probe calls `name`."""
    import torch
    named = model.weights.named
    names = [name]
    if ".experts.0." in name:
        names = [name.replace(".experts.0.", f".experts.{e}.") for e in range(model.config.n_expert)]
    found = [(torch.zeros_like(named[n]) if named[n].grad is None else named[n].grad) for n in names]
    return torch.cat([gradient.flatten() for gradient in found]).numpy()


def compare(model, found):
    worst = (0.0, "")
    for name, numbers in found.items():
        if name.endswith("e_score_correction_bias"):
            continue  # has no gradient: it is moved by the load of the experts
        expected = same_of(model, name)
        largest = np.abs(expected).max()
        off = np.abs(numbers - expected).max() / largest if largest else np.abs(numbers).max()
        worst = max(worst, (float(off), name))
    return worst


def timed_step(model, optimiser, parameters, token, label):
    import torch
    start = time.perf_counter()
    model.loss(token, label).backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def race(a, model, folder, token, label):
    import torch
    parameters = list(model.weights.named.values())
    optimiser = torch.optim.AdamW(parameters, lr=1e-4)
    chunks = {}
    for chunk in (16, 32):
        if a.length % chunk == 0:
            model.chunk = chunk
            chunks[chunk] = min(timed_step(model, optimiser, parameters, token, label) for _ in range(2))
    model.chunk = min(chunks, key=chunks.get)
    ratios = []
    for turn in range(5):
        ours = probe(a, tempfile.mkdtemp(dir=folder), a.steps)[1]
        theirs = [timed_step(model, optimiser, parameters, token, label) for _ in range(a.steps)]
        ratios.append(statistics.median(theirs) / statistics.median(ours))
        print(f"turn {turn + 1}: klinear {statistics.median(ours) * 1e3:.1f} ms, PyTorch "
              f"{statistics.median(theirs) * 1e3:.1f} ms a step, {ratios[-1]:.2f} times")
    print(f"klinear is {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}), "
          f"{a.sequences} x {a.length} tokens, {a.threads} threads, PyTorch {torch.__version__} in chunks of "
          f"{model.chunk}")
    return statistics.median(ratios)


def main():
    a = arguments()
    os.environ["OMP_NUM_THREADS"] = str(a.threads)
    try:
        import torch
    except ImportError:
        print("skipped: no PyTorch here (Debian: python3-torch)")
        sys.exit(77)
    from reference.torch_model import Model
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        loss, _ = probe(a, folder, 0)
        ids = np.fromfile(folder / "tokens", "<i4").astype(np.int64).reshape(2, a.sequences, a.length)
        token, label = torch.from_numpy(ids[0]), torch.from_numpy(ids[1])
        model = Model(folder / "model")
        theirs = model.loss(token, label)
        theirs.backward()
        off = abs(loss - theirs.item()) / theirs.item()
        worst, where = compare(model, gradients(folder))
        print(f"loss {loss:.7f}, PyTorch {theirs.item():.7f}: {off:.1e} relative; gradients: {worst:.1e}, {where}")
        failed = not (off <= a.loss and worst <= a.gradient)
        if a.steps:
            for parameter in model.weights.named.values():
                parameter.grad = None
            failed |= race(a, model, name, token, label) < (a.times or 0)
    sys.exit(failed)


if __name__ == "__main__":
    main()
