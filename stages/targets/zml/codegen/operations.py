"""What PyTorch's functions are in Zig: each takes the function's own arguments and gives a ZML expression.

A tensor argument is a `Value`; the functions know its shape at two batch sizes, from which they see which
dimension is the batch. Every expression has the axes of `zig_text.AXES`. Here: element by element, along an
axis, and the same elements in another shape; `windows`, `products` and `norms` hold the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recast.stages.targets.zml.codegen import zig_text
from recast.stages.targets.zml.codegen.calls import (
    BatchDependent,
    Call,
    Operation,
    UnsupportedError,
    Value,
    dims_of,
    floating,
)

MOST_JOINED = 32
"""tensors that ZML joins at once"""
ELEMENTWISE: dict[str, str] = {
    "relu": "{x}.relu()",
    "relu6": "{x}.relu().minimum(.scalar(6, {x}.dtype()))",
    "sigmoid": "{x}.sigmoid()",
    "silu": "{x}.silu()",
    "tanh": "{x}.tanh()",
    "exp": "{x}.exp()",
    "log": "{x}.log()",
    "sqrt": "{x}.sqrt()",
    "abs": "{x}.abs()",
    "neg": "{x}.negate()",
    "hardsigmoid": "{x}.addConstant(3).relu().minimum(.scalar(6, {x}.dtype())).divByConst(6)",
    "hardswish": "{x}.addConstant(3).relu().minimum(.scalar(6, {x}.dtype())).divByConst(6).mul({x})",
    "softplus": "{x}.relu().add({x}.abs().negate().exp().addConstant(1).log())",
    "same": "{x}",
}


def elementwise(kind: str) -> Operation:
    """The operation of ELEMENTWISE; PyTorch's `inplace` and `training` change nothing here."""

    def operation(call: Call, x: Value, inplace: bool = False) -> str:
        return ELEMENTWISE[kind].format(x=floating(x).name)

    return operation


def leaky_relu(call: Call, x: Value, negative_slope: float = 0.01, inplace: bool = False) -> str:
    """x where it is above zero, else x times the slope."""
    name = floating(x).name
    return f"{name}.relu().sub({name}.negate().relu().scale({zig_text.number(negative_slope)}))"


def elu(call: Call, x: Value, alpha: float = 1.0, inplace: bool = False) -> str:
    """x where it is above zero, else alpha (exp(x) - 1)."""
    name = floating(x).name
    below = f"{name}.minimum(.scalar(0, {name}.dtype())).exp().addConstant(-1).scale({zig_text.number(alpha)})"
    return f"{name}.relu().add({below})"


def clamp(call: Call, x: Value, min: Any = None, max: Any = None, inplace: bool = False) -> str:
    """Within two numbers, of which either may be left out."""
    text = floating(x).name
    for verb, bound in (("maximum", min), ("minimum", max)):
        if bound is not None:
            text += f".{verb}(.scalar({zig_text.number(_number(bound))}, {x.name}.dtype()))"
    return text


def hardtanh(call: Call, x: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> str:
    """As clamp."""
    return clamp(call, x, min_val, max_val)


def dropout(call: Call, x: Value, p: float = 0.5, training: bool = True, inplace: bool = False) -> str:
    """Nothing, unless the model's code drops in inference too."""
    if training and p:
        raise UnsupportedError("it drops values in inference too: pass training=self.training")
    return x.name


def gelu(call: Call, x: Value, approximate: str = "none") -> str:
    """Exact by default, as in PyTorch."""
    if approximate == "tanh":
        return f"{floating(x).name}.gelu()"
    call.use("exactGelu")
    return f"exactGelu({floating(x).name})"


def softmax(call: Call, x: Value, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> str:
    """Along one axis, which must be named."""
    return f"{floating(x).name}.softmax({_one_axis(x, dim)})"


def log_softmax(call: Call, x: Value, dim: int | None = None, _stacklevel: int = 3, dtype: object = None) -> str:
    """Along one axis, which must be named."""
    return f"{floating(x).name}.sub({x.name}.logSumExp({_one_axis(x, dim)}).broad({x.name}.shape()))"


def reshape(call: Call, x: Value, *_: object, **__: object) -> str:
    """flatten, view, reshape, squeeze, unsqueeze, unflatten: whatever shape comes out."""
    if x.shape == call.output.shape and x.other_shape == call.output.other_shape:
        return x.name
    return f"{x.name}.reshape({zig_text.values(dims_of(call.output))}){call.retagged}"


def arithmetic(name: str) -> Operation:
    """add, sub, mul or div of two tensors, or of a tensor and a number, broadcast as PyTorch does."""

    def operation(call: Call, left: Value | float, right: Value | float, *, alpha: float = 1) -> str:
        if alpha != 1:
            raise UnsupportedError("alpha other than 1")
        if isinstance(left, Value) and isinstance(right, Value):
            floating(left), floating(right)
            full = next((v for v in (left, right) if v.shape == call.output.shape), None)
            if full is None:
                raise UnsupportedError(f"{left.shape} and {right.shape} are both to be repeated")
            return f"{_spread(left, full, call)}.{name}({_spread(right, full, call)})"
        if isinstance(left, Value):
            return _with_number(name, floating(left).name, _number(right))
        if not isinstance(right, Value):
            raise UnsupportedError("numbers only")
        value = _number(left)
        if name in ("add", "mul"):
            return _with_number(name, floating(right).name, value)
        if name == "sub":
            return f"{floating(right).name}.negate().addConstant({zig_text.number(value)})"
        return f"zml.Tensor.scalar({zig_text.number(value)}, {right.name}.dtype()).div({floating(right).name})"

    return operation


def concatenate(call: Call, tensors: Sequence[Value], dim: int = 0) -> str:
    """torch.cat."""
    if len(tensors) > MOST_JOINED:
        raise UnsupportedError(f"{len(tensors)} tensors, and ZML joins at most {MOST_JOINED}")
    names = ", ".join(one.name for one in tensors)
    listed = f"&.{{ {names} }}" if len(tensors) > 1 else f"&.{{{names}}}"
    return f"zml.Tensor.concatenate({listed}, {tensors[0].axis(dim)})"


def transpose(call: Call, x: Value, first: int, second: int) -> str:
    """torch.transpose: two axes change places."""
    order = list(range(x.rank))
    order[first], order[second] = order[second], order[first]
    return permute(call, x, order)


def permute(call: Call, x: Value, *dims: Any) -> str:
    """torch.permute, with the dims as one sequence or as arguments."""
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    return f"{x.name}.transpose({zig_text.values(int(dim) % x.rank for dim in order)}){call.retagged}"


def reduction(verb: str) -> Operation:
    """mean, sum or max over the axes `dim`, or all."""

    def operation(call: Call, x: Value, dim: Any = None, keepdim: bool = False, *, dtype: object = None) -> str:
        dims = range(x.rank) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
        reduced = floating(x).name + "".join(f".{verb}({x.axis(one)})" for one in dims)
        return reduced if keepdim else f"{reduced}.reshape({zig_text.values(dims_of(call.output))}){call.retagged}"

    return operation


def normalize(call: Call, x: Value, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> str:
    """Divided by its length along one axis, by `eps` where that is shorter."""
    if p != 2:
        raise UnsupportedError(f"a norm of order {p}, and only 2 is written")
    length = f"{floating(x).name}.mul({x.name}).sum({x.axis(dim)}).sqrt()"
    bounded = call.let("length", f"{length}.maximum(.scalar({zig_text.number(eps)}, {x.name}.dtype()))")
    return f"{x.name}.div({bounded}.broad({x.name}.shape()))"


def pad(call: Call, x: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> str:
    """torch.nn.functional.pad: the last axis first, of each what is put before and after; the batch is not padded."""
    sides = [(int(pad[index]), int(pad[index + 1])) for index in range(0, len(pad), 2)]
    along = {x.rank - 1 - index: side for index, side in enumerate(sides) if any(side)}
    if 0 in along or any(number < 0 for side in along.values() for number in side):
        raise UnsupportedError("padding of the batch, or what cuts off")
    if mode == "constant":
        # the type is named, since ZML reads the sides by it
        one = "{axis} = zml.Tensor.Pad{{ .low = {low}, .high = {high} }}"
        axes = [one.format(axis=x.axis(axis), low=low, high=high) for axis, (low, high) in sorted(along.items())]
        return f"{floating(x).name}.pad({zig_text.number(value or 0.0)}, {zig_text.options(axes)})" if axes else x.name
    if mode not in ("reflect", "replicate"):
        raise UnsupportedError(f"mode {mode}, and only constant, reflect and replicate are written")
    text = floating(x).name
    for axis, (low, high) in sorted(along.items()):
        if low + high + 1 > MOST_JOINED:
            raise UnsupportedError(f"padding by {low} and {high}, and ZML joins at most {MOST_JOINED} tensors")
        last = x.shape[axis] - 1
        mirrored = mode == "reflect"
        before = [index if mirrored else 0 for index in range(low, 0, -1)]
        after = [last - index if mirrored else last for index in range(1, high + 1)]
        one = call.let("one", text)
        parts = [
            *(f"{one}.slice1d({x.axis(axis)}, .{{ .start = {at}, .end = {at + 1} }})" for at in before),
            one,
            *(f"{one}.slice1d({x.axis(axis)}, .{{ .start = {at}, .end = {at + 1} }})" for at in after),
        ]
        text = call.let("padded", f"zml.Tensor.concatenate(&.{{ {', '.join(parts)} }}, {x.axis(axis)})")
    return text


def part(call: Call, source: Value, kind: str, index: int, lengths: Sequence[int], dim: int) -> str:
    """One of those that `chunk`, `split` and `unbind` give: it begins behind the lengths of those before it."""
    if dim % source.rank == 0 and source.shape[0] != source.other_shape[0]:
        raise UnsupportedError("parts of the batch")
    if kind == "unbind":
        return f"{source.name}.choose1d({dim % source.rank}, {index}){call.retagged}"
    start = sum(lengths[:index])
    ends = f".{{ .start = {start}, .end = {start + lengths[index]} }}"
    return f"{source.name}.slice1d({dim % source.rank}, {ends}){call.retagged}"


def item(call: Call, x: Value, index: Any) -> str:
    """x[index] of integers, slices and `...`."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (x.rank - len(parts) + 1)
    text = x.name
    # from the last: an integer drops its axis, and moves those behind it
    for axis, part in reversed(list(enumerate(parts))):
        if isinstance(part, bool) or not isinstance(part, (int, slice)):
            raise UnsupportedError("an index that is no integer, slice or '...'")
        if isinstance(part, int):
            text += f".choose1d({axis}, {part})"
        elif part != slice(None):
            if axis == 0 and x.shape[0] != x.other_shape[0]:
                raise UnsupportedError("a slice of the batch")
            start, stop, step = part.indices(x.shape[axis])
            if step < 1:
                raise UnsupportedError("a slice that runs backwards")
            text += f".slice1d({axis}, .{{ .start = {start}, .end = {stop}, .step = {step} }})"
    return f"{text}{call.retagged}"


def convert(call: Call, x: Value, *to: Any, **more: Any) -> str:
    """.to, .long, .float, ...: between float32, int32 and int64."""
    return f"{x.name}.convert(.{'f32' if call.output.floating else 'i64'})"


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnsupportedError("a number that depends on the batch size" if value is BatchDependent else f"{value!r}")
    return value


def _with_number(name: str, x: str, value: float) -> str:
    verb, value = ("add", -value) if name == "sub" else (name, value)
    return f"{x}.{ {'add': 'addConstant', 'mul': 'scale', 'div': 'divByConst'}[verb] }({zig_text.number(value)})"


def _spread(x: Value, full: Value, call: Call) -> str:
    """x repeated to the shape of `full`, as PyTorch does."""
    if x.shape == full.shape:
        return x.name
    text = x.name
    if x.rank < full.rank:
        missing = full.rank - x.rank
        text += f".reshape({zig_text.values([*[1] * missing, *dims_of(x)])}).withTags({zig_text.tags(full.axes)})"
    return f"{text}.broad({full.name}.shape())"


def _one_axis(x: Value, dim: int | None) -> str:
    if dim is None:
        raise UnsupportedError("no dim: name the axis")
    return x.axis(dim)
