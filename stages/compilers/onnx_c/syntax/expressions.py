"""Scalar expressions in C for elementwise operators, and for the epilogues of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

UNARY = (
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu", "Erf", "Sqrt", "Exp", "Log",
    "Neg", "Abs", "Identity", "Dropout", "Elu", "Selu", "Softplus", "Softsign", "Reciprocal", "Floor", "Ceil", "Round",
    "Sign", "Not", "Celu", "ThresholdedRelu", "Mish", "Swish", "Sin", "Cos", "Cast",
)  # fmt: skip
"""operators of one tensor; their attributes are numbers"""

BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal",
          "And", "Or", "Xor")  # fmt: skip
VARIADIC = ("Min", "Max", "Sum", "Mean")

FLOAT_ONLY = {
    "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu", "Erf", "Sqrt", "Exp", "Log", "Elu", "Selu",
    "Softplus", "Softsign", "Reciprocal", "Floor", "Ceil", "Round", "Celu", "ThresholdedRelu", "Mish", "Swish", "Mean",
    "Sin", "Cos",
}  # fmt: skip
"""operators that ONNX, or this compiler, knows for float32 only"""

_CALLS = {"Sigmoid": "rc_sigmoid", "Tanh": "rc_tanh", "Erf": "rc_erf", "Sqrt": "sqrtf", "Exp": "rc_exp",
          "Log": "rc_log", "Sin": "rc_sin", "Cos": "rc_cos",
          "Floor": "floorf", "Ceil": "ceilf", "Round": "rintf", "Softplus": "rc_softplus"}  # fmt: skip
_COMPARISONS = {"Greater": ">", "GreaterOrEqual": ">=", "Less": "<", "LessOrEqual": "<=", "Equal": "=="}
_LOGICAL = {"And": "&&", "Or": "||", "Xor": "!="}
_UNSIGNED = {"int32_t": "uint32_t", "int64_t": "uint64_t"}
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


def number(value: float | int, c_type: str = "float") -> str:
    """A literal that reads back as exactly this float32, or integer."""
    if c_type != "float":
        whole = int(value)
        if c_type == "int64_t":
            # the most negative number has no literal of its own
            return "INT64_MIN" if whole == -(2**63) else f"INT64_C({whole})"
        if c_type == "uint64_t":
            return f"UINT64_C({whole})"
        if c_type == "int32_t" and whole == -(2**31):
            return "INT32_MIN"
        return f"{whole}u" if c_type == "uint32_t" else str(whole)
    value = float(value)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    import numpy as np

    text = str(np.float32(value))  # the shortest decimal that reads back as this float32
    return f"{text}f"


def unary(op: str, x: str, attributes: dict[str, Any], dtype: str) -> str:
    """The operator of the C expression `x`, which is a plain variable; `Clip` reads the attributes min and max."""
    c_float = dtype == "float32"
    zero = "0.0f" if c_float else "0"

    def attribute(name: str, default: float) -> str:
        return number(attributes.get(name, default))

    if op in ("Identity", "Dropout"):
        return x
    if op == "Relu" and dtype.startswith("uint"):
        return x
    if op == "Relu":
        return f"({x} < {zero} ? {zero} : {x})"
    if op == "LeakyRelu":
        return f"({x} < 0.0f ? {x} * {attribute('alpha', 0.01)} : {x})"
    if op == "Clip":
        return clip(x, attributes.get("min"), attributes.get("max"), "float" if c_float else f"{dtype}_t")
    if op in _CALLS:
        return f"{_CALLS[op]}({x})"
    if op == "HardSigmoid":
        return _clamp(f"{attribute('alpha', 0.2)} * {x} + {attribute('beta', 0.5)}")
    if op == "HardSwish":
        return f"({x} * {_clamp(f'{x} * {number(1 / 6)} + 0.5f')})"
    if op == "Gelu":
        if attributes.get("approximate", "none") == "tanh":
            inner = f"rc_tanh({number(math.sqrt(2 / math.pi))} * ({x} + 0.044715f * {x} * {x} * {x}))"
        else:
            inner = f"rc_erf({x} * {number(math.sqrt(0.5))})"
        return f"(0.5f * {x} * (1.0f + {inner}))"
    if op == "Neg":
        return f"(-{x})" if c_float or dtype not in ("int32", "int64") else f"({dtype}_t)(0u - ({_unsigned(dtype)}){x})"
    if op == "Abs":
        if dtype.startswith("uint") or dtype == "bool":
            return x
        return f"fabsf({x})" if c_float else f"({x} < 0 ? {unary('Neg', x, {}, dtype)} : {x})"
    if op == "Sign":
        return f"({x} > {zero} ? {_one(c_float)} : {x} < {zero} ? -{_one(c_float)} : {zero})"
    if op == "Not":
        return f"!{x}"
    if op == "Elu":
        return f"({x} < 0.0f ? {attribute('alpha', 1.0)} * rc_expm1({x}) : {x})"
    if op == "Celu":
        alpha = attribute("alpha", 1.0)
        return f"({x} < 0.0f ? {alpha} * rc_expm1({x} / {alpha}) : {x})"
    if op == "Selu":
        alpha, gamma = attribute("alpha", 1.67326319217681884765625), attribute("gamma", 1.05070102214813232421875)
        return f"({gamma} * ({x} < 0.0f ? {alpha} * rc_expm1({x}) : {x}))"
    if op == "ThresholdedRelu":
        return f"({x} > {attribute('alpha', 1.0)} ? {x} : 0.0f)"
    if op == "Softsign":
        return f"({x} / (1.0f + fabsf({x})))"
    if op == "Reciprocal":
        return f"(1.0f / {x})"
    if op == "Mish":
        return f"({x} * rc_tanh(rc_softplus({x})))"
    if op == "Swish":
        return f"({x} * rc_sigmoid({attribute('alpha', 1.0)} * {x}))"
    raise KeyError(op)


def binary(op: str, a: str, b: str, dtype: str) -> str:
    """The operator of two variables of the same dtype; integers wrap as in NumPy."""
    if op in ("Add", "Sub", "Mul"):
        sign = {"Add": "+", "Sub": "-", "Mul": "*"}[op]
        c_type = f"{dtype}_t"
        if c_type in _UNSIGNED:
            return f"({c_type})(({_UNSIGNED[c_type]}){a} {sign} ({_UNSIGNED[c_type]}){b})"
        return f"({a} {sign} {b})" if dtype == "float32" else f"({c_type})((uint32_t){a} {sign} (uint32_t){b})"
    if op == "Div":
        # a division by zero is undefined in C, and a trap in wasm; ONNX leaves it open
        return f"({a} / {b})" if dtype == "float32" else f"({b} == 0 ? 0 : {a} / {b})"
    if op == "Pow":
        return f"rc_pow({a}, {b})"
    if op == "PRelu":
        zero = "0.0f" if dtype == "float32" else "0"
        return f"({a} < {zero} ? {a} * {b} : {a})"
    if op in _COMPARISONS:
        return f"({a} {_COMPARISONS[op]} {b})"
    if op in _LOGICAL:
        return f"({a} {_LOGICAL[op]} {b})"
    if op in ("Max", "Min"):
        sign = ">" if op == "Max" else "<"
        # a NaN on either side stays
        return f"({a} {sign} {b} || {a} != {a} ? {a} : {b})" if dtype == "float32" else f"({a} {sign} {b} ? {a} : {b})"
    raise KeyError(op)


def variadic(op: str, operands: Sequence[str], dtype: str) -> str:
    """Min, Max, Sum or Mean of variables."""
    total = operands[0]
    for operand in operands[1:]:
        total = binary("Add" if op in ("Sum", "Mean") else op, total, operand, dtype)
    return f"({total} * {number(1 / len(operands))})" if op == "Mean" else total


def cast(x: str, source: str, target: str) -> str:
    """A variable of one dtype as another; a float out of an integer's range saturates, where C leaves it undefined."""
    if target == "bool":
        return f"({x} != 0)"
    if source != "float32" or target == "float32":
        return f"({'float' if target == 'float32' else f'{target}_t'}){x}"
    if target in _LIMITS:
        # as NumPy and onnxruntime do: toward zero, then the low bits
        return f"({target}_t)(int32_t){_bounded(x, -(2.0**31), 2147483520.0)}"
    bits = 32 if "32" in target else 64
    if target.startswith("uint"):
        return f"({target}_t)(int64_t){_bounded(x, -(2.0**63), 9223371487098961920.0)}"
    low, high = -(2.0 ** (bits - 1)), {32: 2147483520.0, 64: 9223371487098961920.0}[bits]
    return f"({target}_t){_bounded(x, low, high)}"


def clip(x: str, low: float | None, high: float | None, c_type: str = "float") -> str:
    """x between two numbers, either of which may be absent; NaN stays."""
    text = x
    if c_type.startswith("u") and low is not None and low <= 0:
        low = None  # no comparison that is always false
    if high is not None and not (c_type == "float" and high == math.inf):
        text = f"{x} > {number(high, c_type)} ? {number(high, c_type)} : {text}"
    if low is not None and not (c_type == "float" and low == -math.inf):
        # the upper limit wins where they cross, as in ONNX
        floor = low if high is None else min(low, high)
        text = f"{x} < {number(floor, c_type)} ? {number(floor, c_type)} : {text}"
    return f"({text})"


def limits(dtype: str) -> tuple[int, int]:
    """The least and the greatest value of a small integer dtype."""
    return _LIMITS[dtype]


def _clamp(inner: str) -> str:
    return f"rc_clamp({inner}, 0.0f, 1.0f)"


def _bounded(x: str, low: float, high: float) -> str:
    return f"rc_clamp({x}, {number(low)}, {number(high)})"


def _one(is_float: bool) -> str:
    return "1.0f" if is_float else "1"


def _unsigned(dtype: str) -> str:
    return _UNSIGNED[f"{dtype}_t"]
