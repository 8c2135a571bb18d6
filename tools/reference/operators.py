"""What make_golden needs to know of each operator: its formula, and which arrays mean what."""
from dataclasses import dataclass, field

from . import around, attend, delta


@dataclass(frozen=True)
class Operator:
    formula: object  # (inputs, options) -> outputs
    smooth: tuple  # inputs that have a gradient, written as d_<name>
    half: tuple  # inputs that may be bf16
    cotangents: dict = field(default_factory=lambda: {"o": "d_o"})  # output -> its incoming gradient
    half_cotangent: bool = True  # the first of them may be bf16


WITH_STATE = {"o": "d_o", "state_out": "d_state_out"}
Y = {"y": "d_y"}

OPERATORS = {
    "kda": Operator(
        delta.kda,
        ("q", "k", "v", "g", "beta", "A_log", "dt_bias", "state_in"),
        ("q", "k", "v", "g", "beta"),
        WITH_STATE,
    ),
    "dplr": Operator(
        delta.dplr, ("q", "k", "v", "a", "b", "g", "state_in"), ("q", "k", "v", "a", "b", "g"), WITH_STATE
    ),
    "attention": Operator(attend.attention, ("q", "k", "v"), ("q", "k", "v")),
    "mla": Operator(attend.mla, ("q", "cache", "w_uk", "w_uv"), ("q", "cache", "w_uk", "w_uv")),
    "rope": Operator(attend.rope, ("x",), ("x",), {"x_out": "d_x_out"}),
    "rmsnorm": Operator(around.rmsnorm, ("x", "w", "z"), ("x", "w", "z"), Y),
    "l2norm": Operator(around.l2norm, ("x",), ("x",), Y),
    "short_conv": Operator(around.short_conv, ("x", "w", "bias", "tail_in"), ("x", "w", "bias"), Y),
    "swiglu": Operator(around.swiglu, ("gate", "up"), ("gate", "up"), Y),
    "embedding": Operator(around.embedding, ("table",), ("table",), Y),
    "linear": Operator(around.linear, ("x", "w", "b"), ("x", "w", "b"), Y),
    "router": Operator(around.router, ("logits",), (), {"weight": "d_weight"}, half_cotangent=False),
    "experts": Operator(
        around.experts,
        ("x", "weight", "w_gate", "w_up", "w_down"),
        ("x", "w_gate", "w_up", "w_down"),
        Y,
        half_cotangent=False,
    ),
    "cross_entropy": Operator(around.cross_entropy, ("logits",), ("logits",), {"loss": "d_loss"}, half_cotangent=False),
}
