"""Quantized convolutions by the fast kernels: direct, exact Winograd, depthwise and grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.wasm.compiler import conv_choice, packing
from stages.wasm.compiler.specialised import Specialised, Strides, number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.wasm.compiler.conv_choice import ConvShape


@dataclass(frozen=True)
class Residual:
    """A quantized Add in the same pass: own * value + other * residual, clipped to low..high."""

    strides: Strides
    own: float
    other: float
    low: int
    high: int


@dataclass(frozen=True)
class Rounding:
    """How an int32 sum becomes a quantized value: times `scale` (per output channel), clipped to low..high.

    low and high are the bounds of q - zero point.
    """

    scale: NDArray[np.float32]
    low: int
    high: int

    def c(self, residual: Residual | None, offset: str = "") -> str:
        """The initialiser of a `requantization` whose scales are at `m`."""
        other = residual or Residual(Strides(0, 0), 1, 1, self.low, self.high)
        factors = f"{number(other.own)}, {number(other.other)}"
        return f"(requantization){{m{offset}, {self.low}, {self.high}, {factors}, {other.low}, {other.high}}}"


def specialise(
    shape: ConvShape,
    weights: NDArray[np.int8],
    bias: NDArray[np.int32],
    rounding: Rounding,
    source: Strides,
    target: Strides,
    residual: Residual | None,
    winograd: bool,
) -> Specialised:
    """One image: `weights` (groups * oc, ic, kh, kw) without zero points, activations as int16 q - zero point.

    The sums are exact whichever kernel is chosen.
    """
    if shape.groups > 1 and not shape.depthwise:
        return _grouped(shape, weights, bias, rounding, source, target, residual)
    rest = f"{_other(residual)}, {rounding.c(residual)}, {target.view('int8_target', 'out')}"
    view = source.view("int8_source", "in")
    constants: dict[str, NDArray[Any]] = {"b": packing.filled(bias, 8), "m": packing.filled(rounding.scale, 8)}
    with_residual = residual is not None
    if shape.depthwise:
        body = f"int8_depthwise_conv((conv_shape){shape.c}, {view}, w, b, {rest});"
        constants["w"] = packing.int8_depthwise(weights)
        return Specialised(("int8_depthwise_conv.h",), "int16_t", body, constants, with_residual)
    if not winograd or not conv_choice.int8_winograd(shape, weights):
        constants["w"] = packing.int8_direct(weights, by_row=_by_row(shape, source))
        body = f"int8_conv((conv_shape){shape.c}, {view}, w, b, {rest});"
        return Specialised(("int8_conv.h",), "int16_t", body, constants, with_residual)
    block, blocks, ic = conv_choice.block(shape, 2, 2), -(-shape.oc // 8), packing.up(shape.ic, 2)
    inputs = 16 * 2 * (packing.up(shape.ic, 8) * block + 32)
    constants["w"] = packing.int8_direct(weights, by_row=False, least=8)
    products = f"(int32_t *)(void *)((char *)scratch + {inputs})"
    return Specialised(
        ("int8_winograd.h",),
        "int16_t",
        f"int8_winograd_conv({block}, (conv_shape){shape.c}, {view}, prepared, b, {rest}, scratch, {products});",
        constants,
        with_residual,
        prepare=f"int8_winograd_weights({shape.ic}, {blocks}, w, prepared);",
        prepared_bytes=2 * 16 * ic * blocks * 8,
        scratch_bytes=inputs + 16 * 4 * (8 * block + 16),
    )


def _other(residual: Residual | None, offset: str = "") -> str:
    return residual.strides.view("int8_source", f"res{offset}") if residual else "(int8_source){0, 0, 0}"


def _by_row(shape: ConvShape, source: Strides) -> bool:
    """What int8_conv.h calls flat."""
    return shape.dilation[1] == 1 and source.px == shape.ic


def _grouped(
    shape: ConvShape,
    weights: NDArray[np.int8],
    bias: NDArray[np.int32],
    rounding: Rounding,
    source: Strides,
    target: Strides,
    residual: Residual | None,
) -> Specialised:
    """A loop over the groups, each a direct convolution of a slice of the channels."""
    import numpy as np

    groups = shape.groups
    packed = [packing.int8_direct(group, by_row=False) for group in np.split(weights, groups)]
    per_channel = {
        name: np.concatenate([packing.filled(group, 8) for group in np.split(values, groups)])
        for name, values in (("b", bias), ("m", rounding.scale))
    }
    step = packing.up(shape.oc, 8)
    body = (
        f"for (int g = 0; g < {groups}; ++g) int8_conv((conv_shape){shape.c}, "
        f"{source.view('int8_source', f'in + g * {shape.ic}')}, w + g * {len(packed[0])}, b + g * {step}, "
        f"{_other(residual, f' + g * {shape.oc}')}, {rounding.c(residual, f' + g * {step}')}, "
        f"{target.view('int8_target', f'out + g * {shape.oc}')});"
    )
    constants = {"w": np.concatenate(packed), **per_channel}
    return Specialised(("int8_conv.h",), "int16_t", body, constants, residual is not None)
