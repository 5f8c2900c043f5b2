"""Convolutions in float by the fast kernels: direct, Winograd, depthwise and grouped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stages.wasm.compiler import conv_choice, packing
from stages.wasm.compiler.specialised import Specialised, Strides

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stages.wasm.compiler.conv_choice import ConvShape


def specialise(
    shape: ConvShape,
    weights: NDArray[Any],
    bias: NDArray[Any],
    source: Strides,
    target: Strides,
    residual: Strides | None,
    activation: str,
    winograd: bool,
) -> Specialised:
    """One image of a convolution: `weights` (groups * oc, ic, kh, kw) float32, `bias` (groups * oc).

    `activation` is the initialiser of an `activation`. `winograd` allows it where it pays and is exact enough.
    """
    views = (
        f"{source.view('source', 'in')}, %s, b, "
        f"{residual.view('source', 'res') if residual else '(source){0, 0, 0}'}, (activation){activation}, "
        f"{target.view('target', 'out')}"
    )
    constants = {"b": packing.filled(bias, 8)}
    if shape.depthwise:
        body = f"depthwise_conv((conv_shape){shape.c}, {views % 'w'});"
        return Specialised(
            ("depthwise_conv.h",), "float", body, {"w": packing.depthwise(weights), **constants}, residual is not None
        )
    if shape.groups > 1:
        return _grouped(shape, weights, bias, source, target, residual, activation)
    side = conv_choice.tile(shape, weights) if winograd else 0
    if not side:
        body = f"direct_conv((conv_shape){shape.c}, {views % 'w'});"
        return Specialised(
            ("direct_conv.h",), "float", body, {"w": packing.direct(weights), **constants}, residual is not None
        )
    block, positions, blocks = conv_choice.block(shape, side, 4), (side + 2) ** 2, -(-shape.oc // 8)
    inputs = positions * (packing.up(shape.ic, 4) * block + 16)
    return Specialised(
        ("winograd.h",),
        "float",
        f"winograd_conv({side}, {block}, (conv_shape){shape.c}, {views % 'prepared'}, scratch, scratch + {inputs});",
        {"w": packing.direct(weights, least=8), **constants},
        residual is not None,
        prepare=f"winograd_weights({side}, {shape.ic}, {blocks}, w, prepared);",
        prepared_bytes=4 * positions * shape.ic * blocks * 8,
        scratch_bytes=4 * (inputs + positions * (8 * block + 16)),
    )


def _grouped(
    shape: ConvShape,
    weights: NDArray[Any],
    bias: NDArray[Any],
    source: Strides,
    target: Strides,
    residual: Strides | None,
    activation: str,
) -> Specialised:
    """A loop over the groups, each a direct convolution of a slice of the channels."""
    import numpy as np

    packed = [packing.direct(group) for group in np.split(weights, shape.groups)]
    biases = [packing.filled(group, 8) for group in np.split(bias, shape.groups)]
    other = residual.view("source", f"res + g * {shape.oc}") if residual else "(source){0, 0, 0}"
    body = (
        f"for (int g = 0; g < {shape.groups}; ++g) direct_conv((conv_shape){shape.c}, "
        f"{source.view('source', f'in + g * {shape.ic}')}, w + g * {len(packed[0])}, b + g * {len(biases[0])}, "
        f"{other}, (activation){activation}, {target.view('target', f'out + g * {shape.oc}')});"
    )
    constants = {"w": np.concatenate(packed), "b": np.concatenate(biases)}
    return Specialised(("direct_conv.h",), "float", body, constants, residual is not None)
