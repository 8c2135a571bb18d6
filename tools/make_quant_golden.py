#!/usr/bin/env python3
"""Decoding vectors of the block formats: tests/golden/quant/NAME.bin, read by tests/unit/test_quant.c.

    make_quant_golden.py [OUT_DIR]

Written from the published block layouts, number by number, with none of the library's code.  Every product of a
scale and an integer is exact in float32, so each value has at most one rounding, which numpy makes here.
File: u32 blocks, u32 bytes per block, u32 numbers per block, the blocks, the numbers as f32.  The blocks are random
bytes, so their f16 scales are of every kind, then blocks with scales as weights have them, then all bytes 0 and 255.
"""
import os
import struct
import sys

import numpy as np

LEVELS = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
f = np.float32


def half(b, at):
    return f(np.frombuffer(b, "<f2", 1, at)[0])


def nibble(b, j):
    """Number j of 32: byte j holds numbers j and j + 16."""
    return b[j] & 15 if j < 16 else b[j - 16] >> 4


def bit(value, i):
    return value >> i & 1


def q8_0(b):
    d = half(b, 0)
    return [d * f(np.frombuffer(b, np.int8, 1, 2 + j)[0]) for j in range(32)]


def q4_0(b):
    d = half(b, 0)
    return [d * f(nibble(b[2:], j) - 8) for j in range(32)]


def q4_1(b):
    d, m = half(b, 0), half(b, 2)
    return [d * f(nibble(b[4:], j)) + m for j in range(32)]


def q5_0(b):
    d, h = half(b, 0), int.from_bytes(b[2:6], "little")
    return [d * f((nibble(b[6:], j) | bit(h, j) << 4) - 16) for j in range(32)]


def q5_1(b):
    d, m, h = half(b, 0), half(b, 2), int.from_bytes(b[4:8], "little")
    return [d * f(nibble(b[8:], j) | bit(h, j) << 4) + m for j in range(32)]


def six_bits(p, i):
    if i < 4:
        return p[i] & 63, p[i + 4] & 63
    return p[i + 4] & 15 | p[i - 4] >> 6 << 4, p[i + 4] >> 4 | p[i] >> 6 << 4


def k45(b, q_at, fifth):
    d, dmin, out = half(b, 0), half(b, 2), []
    for j in range(256):
        i, l = divmod(j, 32)
        sc, mn = six_bits(b[4:16], i)
        byte = b[q_at + 32 * (i // 2) + l]
        v = byte >> 4 if i % 2 else byte & 15
        if fifth:
            v |= bit(b[16 + l], i) << 4
        out.append(d * f(sc) * f(v) - dmin * f(mn))
    return out


def q4_k(b):
    return k45(b, 16, False)


def q5_k(b):
    return k45(b, 48, True)


def q6_k(b):
    ql, qh, sc, d, out = b[:128], b[128:192], np.frombuffer(b, np.int8, 16, 192), half(b, 208), [None] * 256
    for n in range(2):
        for l in range(32):
            low, low2, high, s = ql[64 * n + l], ql[64 * n + l + 32], qh[32 * n + l], l // 16
            v = [low & 15 | (high & 3) << 4, low2 & 15 | (high >> 2 & 3) << 4,
                 low >> 4 | (high >> 4 & 3) << 4, low2 >> 4 | (high >> 6 & 3) << 4]
            for g in range(4):
                out[128 * n + 32 * g + l] = d * f(sc[8 * n + s + 2 * g]) * f(v[g] - 32)
    return out


def two_bits(q, j):
    n, g, l = j // 128, j // 32 % 4, j % 32
    return q[32 * n + l] >> 2 * g & 3, 8 * n + 2 * g + l // 16


def q2_k(b):
    d, dmin, out = half(b, 80), half(b, 82), []
    for j in range(256):
        v, i = two_bits(b[16:80], j)
        out.append(d * f(b[i] & 15) * f(v) - dmin * f(b[i] >> 4))
    return out


def q3_k(b):
    hm, p, d, out = b[:32], b[96:108], half(b, 108), []
    for j in range(256):
        v, i = two_bits(b[32:96], j)
        v -= 0 if bit(hm[j % 32], j // 32) else 4
        s = (p[i] & 15 if i < 8 else p[i - 8] >> 4) | (p[8 + i % 4] >> 2 * (i // 4) & 3) << 4
        out.append(d * f(s - 32) * f(v))
    return out


def iq4_nl(b):
    d = half(b, 0)
    return [d * f(LEVELS[nibble(b[2:], j)]) for j in range(32)]


def iq4_xs(b):
    d, sh, sl, out = half(b, 0), int.from_bytes(b[2:4], "little"), b[4:8], []
    for j in range(256):
        i = j // 32
        s = sl[i // 2] >> 4 * (i & 1) & 15 | (sh >> 2 * i & 3) << 4
        out.append(d * f(s - 32) * f(LEVELS[nibble(b[8 + 16 * i:], j % 32)]))
    return out


def mxfp4(b):
    scale = float("nan") if b[0] == 255 else 2.0 ** (b[0] - 127)
    out = []
    for j in range(32):
        c = nibble(b[1:], j)
        out.append(f(scale * (-E2M1[c & 7] if c > 8 else E2M1[c & 7])))  # code 8, minus zero, counts as zero
    return out


# decode, bytes, numbers, where the f16 fields are
FORMATS = {
    "q8_0": (q8_0, 34, 32, [0]), "q4_0": (q4_0, 18, 32, [0]), "q4_1": (q4_1, 20, 32, [0, 2]),
    "q5_0": (q5_0, 22, 32, [0]), "q5_1": (q5_1, 24, 32, [0, 2]), "q2_k": (q2_k, 84, 256, [80, 82]),
    "q3_k": (q3_k, 110, 256, [108]), "q4_k": (q4_k, 144, 256, [0, 2]), "q5_k": (q5_k, 176, 256, [0, 2]),
    "q6_k": (q6_k, 210, 256, [208]), "iq4_nl": (iq4_nl, 18, 32, [0]), "iq4_xs": (iq4_xs, 136, 256, [0]),
    "mxfp4": (mxfp4, 17, 32, []),
}


def blocks_of(rng, name, n_bytes, numbers, halves):
    n = 48 if numbers == 32 else 8
    blocks = [rng.bytes(n_bytes) for _ in range(n)]
    for _ in range(n):
        b = bytearray(rng.bytes(n_bytes))
        for at in halves:
            b[at:at + 2] = np.float16(rng.normal() * 0.01).tobytes()
        blocks.append(bytes(b))
    if name == "mxfp4":
        blocks += [bytes([e]) + rng.bytes(16) for e in (0, 1, 2, 3, 127, 252, 253, 254)]
    return blocks + [b"\0" * n_bytes, b"\xff" * n_bytes]


def main():
    out_dir = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../tests/golden/quant")
    os.makedirs(out_dir, exist_ok=True)
    for name, (decode, n_bytes, numbers, halves) in FORMATS.items():
        rng = np.random.default_rng([20, n_bytes, *name.encode()])
        blocks = blocks_of(rng, name, n_bytes, numbers, halves)
        with np.errstate(all="ignore"):
            x = np.array([decode(b) for b in blocks], "<f4")
        with open(os.path.join(out_dir, name + ".bin"), "wb") as file:
            file.write(struct.pack("<3I", len(blocks), n_bytes, numbers))
            file.write(b"".join(blocks) + x.tobytes())


main()
