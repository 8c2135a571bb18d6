"""Element types and block formats of model files: bytes in, float64 out.  A decoder takes blocks as u8 [n][bytes] and
gives [n][numbers]; every value is the exact product of its scale and its integer, rounded nowhere."""
import numpy as np

IQ4_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float64)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float64)
E2M1_SIGNED = np.concatenate([E2M1, -E2M1])


def half(b, at):
    """The f16 at byte `at` of every block, as a column."""
    return np.ascontiguousarray(b[:, at : at + 2]).view("<f2").astype(np.float64)


def nibbles(q):
    """[n][16] bytes -> [n][32]: byte j holds numbers j and j + 16."""
    return np.concatenate([q & 15, q >> 4], axis=1)


def word(b, at):
    """The u32 at byte `at`, as a column."""
    return np.ascontiguousarray(b[:, at : at + 4]).view("<u4")


def fifth_bits(b, at):
    return (word(b, at) >> np.arange(32, dtype=np.uint32) & 1).astype(np.int64) << 4


def f32(b):
    return b.view("<f4").astype(np.float64)


def f16(b):
    return b.view("<f2").astype(np.float64)


def bf16(b):
    return (b.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def f64(b):
    return b.view("<f8").astype(np.float64)


def q8_0(b):
    return half(b, 0) * b[:, 2:].view(np.int8)


def q4_0(b):
    return half(b, 0) * (nibbles(b[:, 2:]).astype(np.int64) - 8)


def q4_1(b):
    return half(b, 0) * nibbles(b[:, 4:]) + half(b, 2)


def q5_0(b):
    return half(b, 0) * ((nibbles(b[:, 6:]).astype(np.int64) | fifth_bits(b, 2)) - 16)


def q5_1(b):
    return half(b, 0) * (nibbles(b[:, 8:]).astype(np.int64) | fifth_bits(b, 4)) + half(b, 2)


def scales_and_minima(p):
    """The 6-bit pack of Q4_K and Q5_K: [n][12] -> scales [n][8], minima [n][8]."""
    scale = np.concatenate([p[:, 0:4] & 63, p[:, 8:12] & 15 | p[:, 0:4] >> 6 << 4], axis=1)
    least = np.concatenate([p[:, 4:8] & 63, p[:, 8:12] >> 4 | p[:, 4:8] >> 6 << 4], axis=1)
    return scale.astype(np.float64), least.astype(np.float64)


def sub_blocks(q):
    """[n][128] bytes -> [n][8][32]: 32 bytes hold two sub-blocks, the first in their low nibbles."""
    q = q.reshape(-1, 4, 1, 32)
    return np.concatenate([q & 15, q >> 4], axis=2).reshape(-1, 8, 32)


def with_minima(b, v):
    scale, least = scales_and_minima(b[:, 4:16])
    d, dmin = half(b, 0)[:, :, None], half(b, 2)[:, :, None]
    return (d * scale[:, :, None] * v - dmin * least[:, :, None]).reshape(-1, 256)


def q4_k(b):
    return with_minima(b, sub_blocks(b[:, 16:]))


def q5_k(b):
    high = b[:, 16:48][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return with_minima(b, sub_blocks(b[:, 48:]) | high << 4)


def q6_k(b):
    low, high = b[:, :128].reshape(-1, 2, 64), b[:, 128:192].reshape(-1, 2, 32)
    scale = b[:, 192:208].view(np.int8).reshape(-1, 2, 8).astype(np.float64)
    low = np.stack([low[:, :, :32] & 15, low[:, :, 32:] & 15, low[:, :, :32] >> 4, low[:, :, 32:] >> 4], axis=2)
    high = np.stack([high >> 2 * i & 3 for i in range(4)], axis=2)
    v = (low | high << 4).astype(np.int64) - 32  # [n][2][4][32], scale 2 i + l / 16
    x = v.reshape(-1, 2, 8, 16) * scale[:, :, :, None]
    return half(b, 208) * x.reshape(-1, 256)


def two_bits(q):
    """[n][64] bytes -> [n][2][4][32]."""
    q = q.reshape(-1, 2, 1, 32)
    return q >> np.array([0, 2, 4, 6], dtype=np.uint8)[:, None] & 3


def q3_k(b):
    high = b[:, :32][:, None, :] >> np.arange(8, dtype=np.uint8)[:, None] & 1  # [n][8][32]
    v = two_bits(b[:, 32:96]).astype(np.int64) - 4 * (1 - high.reshape(-1, 2, 4, 32).astype(np.int64))
    p = b[:, 96:108]
    low = np.concatenate([p[:, :8] & 15, p[:, :8] >> 4], axis=1)
    top = np.concatenate([p[:, 8:12] >> 2 * i & 3 for i in range(4)], axis=1)
    scale = (low | top << 4).astype(np.int64) - 32
    return half(b, 108) * (v.reshape(-1, 16, 16) * scale[:, :, None]).reshape(-1, 256)


def q2_k(b):
    v = two_bits(b[:, 16:80]).reshape(-1, 16, 16)
    scale, least = (b[:, :16] & 15)[:, :, None], (b[:, :16] >> 4)[:, :, None]
    d, dmin = half(b, 80)[:, :, None], half(b, 82)[:, :, None]
    return (d * (scale * v.astype(np.int64)) - dmin * least).reshape(-1, 256)


def iq4_nl(b):
    return half(b, 0) * IQ4_LEVELS[nibbles(b[:, 2:])]


def iq4_xs(b):
    i = np.arange(8)
    high = np.ascontiguousarray(b[:, 2:4]).view("<u2").astype(np.int64) >> 2 * i & 3
    low = b[:, 4:8][:, i // 2].astype(np.int64) >> 4 * (i % 2) & 15
    v = IQ4_LEVELS[nibbles(b[:, 8:].reshape(-1, 16))].reshape(-1, 8, 32)
    return (half(b, 0)[:, :, None] * ((low | high << 4) - 32)[:, :, None] * v).reshape(-1, 256)


def mxfp4(b):
    return np.ldexp(E2M1_SIGNED[nibbles(b[:, 1:])], b[:, :1].astype(np.int32) - 127)


# name: numbers a block, bytes a block, decoder
FORMATS = {
    "F32": (1, 4, f32),
    "F16": (1, 2, f16),
    "BF16": (1, 2, bf16),
    "F64": (1, 8, f64),
    "Q8_0": (32, 34, q8_0),
    "Q4_0": (32, 18, q4_0),
    "Q4_1": (32, 20, q4_1),
    "Q5_0": (32, 22, q5_0),
    "Q5_1": (32, 24, q5_1),
    "Q2_K": (256, 84, q2_k),
    "Q3_K": (256, 110, q3_k),
    "Q4_K": (256, 144, q4_k),
    "Q5_K": (256, 176, q5_k),
    "Q6_K": (256, 210, q6_k),
    "IQ4_NL": (32, 18, iq4_nl),
    "IQ4_XS": (256, 136, iq4_xs),
    "MXFP4": (32, 17, mxfp4),
}


def bytes_of(name, n):
    """Bytes of `n` numbers, which must fill their blocks."""
    per_block, block_bytes, _ = FORMATS[name]
    if n % per_block:
        raise ValueError(f"{n} numbers do not fill blocks of {name}")
    return n // per_block * block_bytes


def decode(name, data, shape):
    """u8 bytes -> float64 of `shape`."""
    _, block_bytes, decoder = FORMATS[name]
    blocks = np.ascontiguousarray(data).reshape(-1, block_bytes)
    return decoder(blocks).reshape(shape)
