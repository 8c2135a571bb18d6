"""Random inputs as a model makes them: exactly the same numbers on every machine, in f32 or exact in bf16."""
import zlib

import numpy as np


def f32(x):
    return np.asarray(x, dtype=np.float32)


def bf16(x):
    """The nearest number with 8 significant bits, ties to even, as f32.  Finite numbers and infinities."""
    bits = f32(x).view(np.uint32)
    bits = bits + 0x7FFF + (bits >> 16 & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Draw:
    """A stream of numbers that depends on a name only."""

    def __init__(self, name):
        self.bits = np.random.RandomState(zlib.crc32(name.encode()))  # a stream that numpy promised never to change

    def uniform(self, *shape, low=0.0, high=1.0):
        return low + (high - low) * self.bits.random_sample(shape)

    def normal(self, *shape):
        """Twelve uniforms less their mean: variance 1, no tails beyond 6, no library function that may differ."""
        x = np.zeros(shape)
        for _ in range(12):
            x = x + self.bits.random_sample(shape)
        return x - 6

    def below(self, n, *shape):
        return self.bits.randint(0, n, shape)

    # ---- what the layers in front of KDA produce
    def keys(self, *shape, correlation=0.0):
        """Unit vectors, L2-normalised SiLU of Gaussians, with a common direction in them when asked for."""
        x = self.normal(*shape)
        x = x * sigmoid(x)
        x = x / np.sqrt((x * x).sum(-1, keepdims=True))
        if correlation:
            common = self.normal(shape[-1])
            common = common / np.sqrt((common * common).sum())
            x = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * x
            x = x / np.sqrt((x * x).sum(-1, keepdims=True))
        return x

    def values(self, *shape):
        x = self.normal(*shape)
        return x * sigmoid(x)

    def rates(self, n_head):
        """A_log: log of U(1, 16)."""
        return np.log(self.uniform(n_head, low=1, high=16))

    def steps(self, *shape):
        """dt_bias: softplus^-1 of a step drawn log-uniformly from [1e-3, 0.1]."""
        dt = np.exp(self.uniform(*shape, low=np.log(1e-3), high=np.log(0.1)))
        return np.log(np.expm1(dt))

    def log_decays(self, *shape, rate=1.0):
        """g as the softplus gate gives it at initialisation."""
        return -rate * np.log1p(np.exp(self.normal(*shape) + self.steps(shape[-1])))
