#!/usr/bin/env python3
"""What the sampler has to choose, from an implementation of its own.   usage: tools/make_sampler_golden.py > FILE

Writes tests/golden/sampler.txt.  Everything here is written from the documentation in kl.h: Philox from its paper, sets
of candidates by sorting, exact sums (math.fsum).  A line is
    settings: temperature top_k top_p min_p typical repetition presence frequency seed, then 16 tokens
for the logits that logit() gives and the history 0, 3, 6 .. of 40 tokens, of which the first 20 are the prompt."""
import math

N_VOCAB, N_TOKEN = 300, 16


def philox(counter, key):
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = x[0] * 0xD2511F53, x[2] * 0xCD9E8D57
        x = [(b >> 32) ^ x[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ x[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return x


def uniform(seed, n):
    x = philox([n & 0xFFFFFFFF, n >> 32, 0, 0], [seed & 0xFFFFFFFF, seed >> 32])
    return ((x[0] << 32 | x[1]) >> 11) / 2.0**53


def logit(token, step):
    """Exact in float32: sixteenths, from -8 to 8."""
    return ((token * 7919 + step * 104729) * 2654435761 % 2**32 >> 24) / 16 - 8


def kept_first(candidates, share):
    """The first of a sorted list that together have the share of the list."""
    total, out = math.fsum(p for _, p in candidates), []
    for c in candidates:
        if out and math.fsum(p for _, p in out) >= share * total:
            break
        out.append(c)
    return out


def choose(step, temperature, top_k, top_p, min_p, typical, repetition, presence, frequency, seed):
    z = [logit(t, step) for t in range(N_VOCAB)]
    history = [3 * i % N_VOCAB for i in range(40)]
    for t in set(history):
        z[t] = z[t] / (repetition or 1) if z[t] > 0 else z[t] * (repetition or 1)
        times = history[20:].count(t)
        z[t] -= presence * (times > 0) + frequency * times
    order = sorted(range(N_VOCAB), key=lambda t: (-z[t], t))
    if temperature == 0 or top_k == 1:
        return order[0]
    p = {t: math.exp((z[t] - z[order[0]]) / temperature) for t in order}
    left = [(t, p[t]) for t in order if p[t] >= min_p]
    by_id = not top_k
    if top_k:
        left = left[:top_k]
    if 0 < typical < 1:
        total = math.fsum(q for _, q in left)
        entropy = math.fsum(-q / total * math.log(q / total) for _, q in left)
        left = kept_first(sorted(left, key=lambda c: (abs(-math.log(c[1] / total) - entropy), c[0])), typical)
        by_id = False
    if 0 < top_p < 1:
        left = kept_first(sorted(left, key=lambda c: (-c[1], c[0])), top_p)
        by_id = False
    if by_id:
        left.sort()
    target, running = uniform(seed, step) * math.fsum(q for _, q in left), 0.0
    for t, q in left:
        running += q
        if running > target:
            return t
    return left[-1][0]


def main():
    base = dict(temperature=1.0, top_k=0, top_p=0.0, min_p=0.0, typical=0.0, repetition=0.0, presence=0.0,
                frequency=0.0, seed=1)
    changes = [dict(temperature=0.0), {}, dict(seed=2), dict(seed=2**64 - 1), dict(temperature=0.3),
               dict(temperature=5.0), dict(top_k=1), dict(top_k=5), dict(top_k=299), dict(top_p=0.5),
               dict(top_p=0.95, temperature=3.0),
               dict(min_p=0.1, temperature=2.0), dict(typical=0.3, temperature=2.0), dict(typical=0.9),
               dict(temperature=0.0, repetition=1.7), dict(repetition=1.3, temperature=2.0),
               dict(temperature=0.0, presence=9.0), dict(presence=0.5, frequency=0.25, temperature=2.0),
               dict(temperature=0.0, presence=-9.0),
               dict(temperature=1.5, top_k=50, top_p=0.9, min_p=0.01, typical=0.8, repetition=1.1, presence=0.25,
                    frequency=0.125, seed=77)]
    for change in changes:
        s = {**base, **change}
        tokens = [choose(step, **s) for step in range(N_TOKEN)]
        print(*(repr(v) for v in s.values()), *tokens)


main()
