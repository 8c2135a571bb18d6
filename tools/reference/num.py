"""Numbers that remember where they came from: reverse-mode differentiation in float64 on numpy arrays.

The operators of this folder are written once, as formulas on the functions below, and are evaluated with three kinds
of numbers:

    numpy float64       the value
    numpy complex128    the complex step: Im f(x + ih d) / h is the derivative along d, exact to rounding
    Var                 a float64 value on a tape, from which `gradients` walks backwards

The second kind shares no code with the third beyond the formula itself, so that each checks the other.  Formulas must
be analytic: no abs, no conjugate, and comparisons on real parts only.
"""
import itertools

import numpy as np

_count = itertools.count()


class Var:
    """A value and how to pull a gradient back to what it was made from."""

    __array_priority__ = 100  # array * Var is Var.__rmul__

    def __init__(self, value, parents=()):
        self.value = np.asarray(value, dtype=np.float64)
        self.parents = parents  # pairs (Var, function from the gradient of this value to that of the parent)
        self.order = next(_count)

    @property
    def shape(self):
        return self.value.shape

    def __add__(self, other):
        return _binary(self, other, np.add, lambda g, a, b: g, lambda g, a, b: g)

    def __sub__(self, other):
        return _binary(self, other, np.subtract, lambda g, a, b: g, lambda g, a, b: -g)

    def __rsub__(self, other):
        return -1.0 * self + other

    def __mul__(self, other):
        return _binary(self, other, np.multiply, lambda g, a, b: g * b, lambda g, a, b: g * a)

    def __truediv__(self, other):
        return _binary(self, other, np.divide, lambda g, a, b: g / b, lambda g, a, b: -g * a / (b * b))

    def __rtruediv__(self, other):
        return _binary(other, self, np.divide, lambda g, a, b: g / b, lambda g, a, b: -g * a / (b * b))

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self):
        return -1.0 * self

    def __getitem__(self, index):
        def back(g):
            full = np.zeros_like(self.value)
            np.add.at(full, index, g)
            return full

        return Var(self.value[index], ((self, back),))


def raw(x):
    """The array behind a number of any kind."""
    return x.value if isinstance(x, Var) else np.asarray(x)


def real(x):
    """The real part of the value, cut off from derivatives: for choices and for shifts that cancel."""
    return np.real(raw(x))


def _reduce_to(g, shape):
    """Sums a gradient over the axes along which its operand was broadcast."""
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for axis, n in enumerate(shape):
        if n == 1 and g.shape[axis] != 1:
            g = g.sum(axis=axis, keepdims=True)
    return g


def _binary(a, b, value, back_a, back_b):
    x, y = raw(a), raw(b)
    parents = []
    if isinstance(a, Var):
        parents.append((a, lambda g: _reduce_to(back_a(g, x, y), x.shape)))
    if isinstance(b, Var):
        parents.append((b, lambda g: _reduce_to(back_b(g, x, y), y.shape)))
    return Var(value(x, y), tuple(parents))


def _elementwise(x, value, slope):
    """y = value(x) with derivative slope(x, y)."""
    v = raw(x)
    y = value(v)
    return Var(y, ((x, lambda g: g * slope(v, y)),)) if isinstance(x, Var) else y


def exp(x):
    return _elementwise(x, np.exp, lambda v, y: y)


def log(x):
    return _elementwise(x, np.log, lambda v, y: 1 / v)


def sqrt(x):
    return _elementwise(x, np.sqrt, lambda v, y: 0.5 / y)


def _sigmoid(v):
    positive = v.real >= 0
    small = np.exp(np.where(positive, -v, v))  # modulus at most 1
    return np.where(positive, 1 / (1 + small), small / (1 + small))


def sigmoid(x):
    return _elementwise(x, _sigmoid, lambda v, y: y * (1 - y))


def softplus(x):
    def value(v):
        positive = v.real >= 0
        return np.where(positive, v, 0) + np.log1p(np.exp(np.where(positive, -v, v)))

    return _elementwise(x, value, lambda v, y: _sigmoid(v))


def silu(x):
    return x * sigmoid(x)


def einsum(spec, a, b):
    """np.einsum of two operands.  Every index of an operand must also be in the other one or in the result, so that
    the gradient of one operand is the einsum of the result's gradient with the other operand."""
    (in_a, in_b), out = spec.split("->")[0].split(","), spec.split("->")[1]
    assert set(in_a) <= set(in_b + out) and set(in_b) <= set(in_a + out), spec
    x, y = raw(a), raw(b)
    parents = []
    if isinstance(a, Var):
        parents.append((a, lambda g: np.einsum(f"{out},{in_b}->{in_a}", g, y)))
    if isinstance(b, Var):
        parents.append((b, lambda g: np.einsum(f"{in_a},{out}->{in_b}", x, g)))
    value = np.einsum(spec, x, y)
    return Var(value, tuple(parents)) if parents else value


def total(x, axis=None, keepdims=False):
    """Sum over `axis`, or over everything."""
    v = raw(x)
    y = v.sum(axis=axis, keepdims=keepdims)
    if not isinstance(x, Var):
        return y

    def back(g):
        if axis is not None and not keepdims:
            g = np.expand_dims(g, axis)
        return np.broadcast_to(g, v.shape)

    return Var(y, ((x, back),))


def reshape(x, shape):
    v = raw(x)
    return Var(v.reshape(shape), ((x, lambda g: g.reshape(v.shape)),)) if isinstance(x, Var) else v.reshape(shape)


def transpose(x, axes):
    v = raw(x)
    inverse = tuple(np.argsort(axes))
    y = v.transpose(axes)
    return Var(y, ((x, lambda g: g.transpose(inverse)),)) if isinstance(x, Var) else y


def concatenate(parts, axis=0):
    values = [raw(p) for p in parts]
    y = np.concatenate(values, axis=axis)
    if not any(isinstance(p, Var) for p in parts):
        return y
    parents, start = [], 0
    for part, value in zip(parts, values):
        n = value.shape[axis]
        if isinstance(part, Var):
            index = (slice(None),) * axis + (slice(start, start + n),)
            parents.append((part, lambda g, index=index: g[index]))
        start += n
    return Var(y, tuple(parents))


def stack(parts, shape_of_one):
    """Parts along a new first axis; an empty list gives [0, *shape_of_one]."""
    if not parts:
        return np.zeros((0,) + tuple(shape_of_one))
    return concatenate([reshape(p, (1,) + raw(p).shape) for p in parts])


def gradients(outputs, cotangents, inputs):
    """d sum(outputs . cotangents) / d input for every input.  Outputs that no Var reaches contribute nothing."""
    pending, flow = {}, {}
    for out, cotangent in zip(outputs, cotangents):
        if isinstance(out, Var):
            flow[out.order] = flow.get(out.order, 0) + np.asarray(cotangent, dtype=np.float64)
            pending[out.order] = out
    found = {}
    while pending:
        order = max(pending)  # everything made from this value has a higher number and is done
        var, g = pending.pop(order), flow.pop(order)
        found[order] = g
        for parent, back in var.parents:
            flow[parent.order] = flow.get(parent.order, 0) + back(g)
            pending[parent.order] = parent
    return [np.array(np.broadcast_to(found.get(v.order, 0.0), v.shape)) for v in inputs]
