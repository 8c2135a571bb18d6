"""One golden case: inputs, options, and everything that follows from them, with the gradients checked."""
import numpy as np

from . import num
from .draw import Draw, bf16, f32
from .operators import OPERATORS


class Case:
    """`build(draw)` returns (inputs, options).  With `half`, every input that may be bf16 is exact in bf16, so that the
    same expected numbers hold for both element types.  `without` names outputs and incoming gradients that stay
    absent."""

    def __init__(self, op, name, build, half=False, without=()):
        self.op, self.name, self.half, self.without = op, name, half, without
        draw = Draw(f"{op}/{name}")
        inputs, self.options = build(draw)
        spec = OPERATORS[op]
        self.inputs = {key: self._stored(key, array, spec.half) for key, array in inputs.items()}
        self.outputs = self._evaluate(lambda array: array)
        self.cotangents = {}
        for i, (out, key) in enumerate(spec.cotangents.items()):
            if key not in without:
                may_be_half = (key,) if i == 0 and spec.half_cotangent else ()
                self.cotangents[key] = self._stored(key, draw.normal(*self.outputs[out].shape), may_be_half)
        self.gradients = self._differentiate()

    def _stored(self, key, array, may_be_half):
        array = np.asarray(array)
        if array.dtype.kind in "iu":
            return array
        return bf16(array) if self.half and key in may_be_half else f32(array)

    def _wide(self):
        return {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in self.inputs.items()}

    def _evaluate(self, kind, **replaced):
        inputs = {**self._wide(), **replaced}
        smooth = OPERATORS[self.op].smooth
        inputs = {k: kind(a) if k in smooth and k not in replaced else a for k, a in inputs.items()}
        return OPERATORS[self.op].formula(inputs, self.options)

    def _pairs(self, outputs):
        """Outputs with the gradient that comes in; one that is absent is ones for a loss and zeros otherwise."""
        for out, key in OPERATORS[self.op].cotangents.items():
            absent = 1.0 if key == "d_loss" else 0.0
            yield outputs[out], self.cotangents.get(key, np.full(num.raw(outputs[out]).shape, absent)).astype(float)

    def _differentiate(self):
        wide, smooth = self._wide(), [k for k in OPERATORS[self.op].smooth if k in self.inputs]
        tape = {k: num.Var(wide[k]) for k in smooth}
        outs, cotangents = zip(*self._pairs(self._evaluate(lambda a: a, **tape)))
        found = num.gradients(outs, cotangents, [tape[k] for k in smooth])
        return {"d_" + k: g for k, g in zip(smooth, found)}

    def check_gradients(self):
        """Largest difference between the tape and the complex step, relative to the size of the gradient."""
        worst, step = 0.0, 1e-40
        draw = Draw(f"complex step {self.op}/{self.name}")
        for key, gradient in self.gradients.items():
            if gradient.size == 0:
                continue
            base = self.inputs[key[2:]].astype(np.float64)
            for _ in range(2):
                direction = draw.normal(*gradient.shape)
                outputs = self._evaluate(lambda a: a, **{key[2:]: base + 1j * step * direction})
                derivative = sum(np.imag(out * w).sum() for out, w in self._pairs(outputs)) / step
                expected = (gradient * direction).sum()
                size = np.sqrt((gradient**2).sum()) + 1e-30
                worst = max(worst, abs(derivative - expected) / size)
        return worst

    def arrays(self):
        """Every record of the case, in the order of the file."""
        options = {k: np.float64(v) if isinstance(v, float) else np.int64(v) for k, v in self.options.items()}
        options["exact16"] = np.int64(self.half)
        outputs = {k: a if a.dtype.kind == "i" else a.astype(np.float64) for k, a in self.outputs.items()}
        outputs = {k: a for k, a in outputs.items() if k not in self.without}
        return {**options, **self.inputs, **self.cotangents, **outputs, **self.gradients}
