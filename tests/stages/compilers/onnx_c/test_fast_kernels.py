# environment: wasm
"""Every float kernel on random shapes, SIMD, without SIMD and native, against the definition of the operation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recast.stages.compilers.onnx_c.kernels import packing
from tests.lib.onnx_c.kernel_bench import VARIANTS, Array, Libraries

STREAM = np.random.default_rng(5)


@dataclass(frozen=True)
class Conv:
    """A convolution by one of the kernels: `tile` of Winograd, or 0."""

    name: str
    ic: int
    oc: int
    height: int
    width: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    depthwise: bool = False
    tile: int = 0
    residual: bool = False
    activation: str = "{RC_NO_ACTIVATION, 0, 0}"

    @property
    def output(self) -> tuple[int, int]:
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        size = zip((self.height, self.width), reach, self.stride, strict=True)
        rows, columns = ((length - extent) // step + 1 for length, extent, step in size)
        return rows, columns

    def c(self) -> str:
        """A C function of input, weights, bias, residual, output and Winograd's three buffers."""
        (kh, kw), (sy, sx), (dy, dx), (oh, ow) = self.kernel, self.stride, self.dilation, self.output
        shape = f"{{{self.ic}, {self.oc}, {kh}, {kw}, {sy}, {sx}, {dy}, {dx}, {oh}, {ow}}}"
        names = "x, w, b, r, y, u, v, p"
        call = "rc_direct_conv(s, in, w, b, res, f, out);"
        if self.depthwise:
            call = "rc_depthwise_conv(s, in, w, b, res, f, out);"
        if self.tile:
            call = (
                f"rc_winograd_weights({self.tile}, {self.ic}, {-(-self.oc // 8)}, w, u);"
                f"rc_winograd_conv({self.tile}, 8, s, in, u, b, res, f, out, v, p);"
            )
        return f"""
void {self.name}({", ".join(f"float *{name}" for name in names.split(", "))});
void {self.name}({", ".join(f"float *{name}" for name in names.split(", "))}) {{
  const rc_conv_shape s = {shape};
  const rc_source in = {{x, {self.width * self.ic}, {self.ic}}};
  const rc_source res = {{{"r" if self.residual else "0"}, {ow * self.oc}, {self.oc}}};
  const rc_target out = {{y, {ow * self.oc}, {self.oc}}};
  const rc_activation f = {self.activation};
  (void)r, (void)u, (void)v, (void)p;
  {call}
}}"""


CONVS = [
    Conv("plain", 16, 16, 8, 8),
    Conv("ragged", 3, 13, 9, 7, residual=True, activation="{RC_RELU, 0, 0}"),
    Conv("narrow", 5, 2, 6, 9, kernel=(1, 1), activation="{RC_CLIP, -0.5f, 0.75f}"),
    Conv("strided", 7, 20, 11, 12, kernel=(5, 3), stride=(2, 3), activation="{RC_LEAKY_RELU, 0.1f, 0}"),
    Conv("dilated", 6, 9, 13, 12, dilation=(2, 3), residual=True, activation="{RC_HARD_SWISH, 0, 0}"),
    Conv("depthwise", 11, 11, 9, 10, depthwise=True, residual=True, activation="{RC_HARD_SIGMOID, 0.2f, 0.5f}"),
    Conv("depthwise_strided", 8, 8, 9, 13, (5, 5), (2, 2), depthwise=True, activation="{RC_RELU, 0, 0}"),
    Conv("winograd2", 16, 16, 10, 10, tile=2, activation="{RC_RELU, 0, 0}"),
    Conv("winograd2_ragged", 5, 13, 9, 12, tile=2, residual=True),
    Conv("winograd4", 16, 24, 10, 10, tile=4, residual=True, activation="{RC_RELU, 0, 0}"),
    Conv("winograd4_ragged", 7, 11, 9, 15, tile=4, activation="{RC_LEAKY_RELU, 0.1f, 0}"),
    Conv("winograd4_narrow", 3, 4, 6, 6, tile=4),
]
INCLUDES = '#include "winograd.h"\n#include "depthwise_conv.h"\n#include "dense.h"\n#include "pooling.h"\n'


def expected(conv: Conv, x: Array, w: Array, b: Array, residual: Array) -> Array:
    """The definition of convolution and of the activations, in float64."""
    (sy, sx), (dy, dx), (oh, ow) = conv.stride, conv.dilation, conv.output
    y = np.zeros((oh, ow, conv.oc))
    for i in range(conv.kernel[0]):
        for j in range(conv.kernel[1]):
            window = x[i * dy : i * dy + (oh - 1) * sy + 1 : sy, j * dx : j * dx + (ow - 1) * sx + 1 : sx].astype(float)
            y += window * w[:, 0, i, j] if conv.depthwise else window @ w[:, :, i, j].T
    y += b + (residual if conv.residual else 0)
    return activated(conv.activation, y)


def activated(activation: str, y: Array) -> Array:
    kind, p, q = activation.strip("{}").split(", ")
    first, second = float(p.rstrip("f")), float(q.rstrip("f"))
    result: Array = {
        "RC_NO_ACTIVATION": lambda: y,
        "RC_RELU": lambda: np.maximum(y, 0),
        "RC_CLIP": lambda: np.clip(y, first, second),
        "RC_LEAKY_RELU": lambda: np.where(y < 0, first * y, y),
        "RC_HARD_SIGMOID": lambda: np.clip(first * y + second, 0, 1),
        "RC_HARD_SWISH": lambda: y * np.clip(y / 6 + 0.5, 0, 1),
    }[kind]()
    return result


DENSE = [(37, 10), (64, 32), (5, 101), (128, 48)]
POOLS = {
    "max_whole": ("RC_MAX_POOL", 13, 8, 9, 2, 2, 0, 4, 4),
    "max_padded": ("RC_MAX_POOL", 6, 7, 9, 3, 2, 1, 4, 5),
    "average_image": ("RC_AVERAGE_OF_IMAGE", 9, 7, 7, 3, 1, 1, 7, 7),
    "average_window": ("RC_AVERAGE_OF_WINDOW", 4, 7, 7, 3, 1, 1, 7, 7),
    "global": ("RC_AVERAGE_OF_IMAGE", 10, 7, 7, 7, 1, 0, 1, 1),
}


def dense_c(k: int, n: int) -> str:
    arguments = "float *x, float *w, float *b, float *r, float *y"
    name = f"dense_{k}_{n}"
    return f"""
void {name}({arguments});
void {name}({arguments}) {{
  const rc_activation f = {{RC_RELU, 0, 0}};
  rc_dense({k}, {n}, x, w, b, r, f, y);
}}"""


def pool_c(name: str) -> str:
    kind, channels, height, width, kernel, stride, pad, oh, ow = POOLS[name]
    numbers = [channels, height, width, kernel, kernel, stride, stride, 1, 1, pad, pad, oh, ow]
    return f"""
void {name}(float *x, float *y);
void {name}(float *x, float *y) {{
  const rc_pool_shape s = {{{", ".join(map(str, numbers))}}};
  const rc_source in = {{x, {width * channels}, {channels}}};
  const rc_target out = {{y, {ow * channels}, {channels}}};
  rc_pool(s, {kind}, in, out);
}}"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    cases = [conv.c() for conv in CONVS] + [dense_c(k, n) for k, n in DENSE] + [pool_c(name) for name in POOLS]
    return Libraries(INCLUDES + "".join(cases), Path(tmp_path_factory.mktemp("kernels")))


def normal(*shape: int) -> Array:
    return STREAM.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("conv", CONVS, ids=lambda conv: conv.name)
def test_a_convolution_is_what_its_definition_says(libraries: Libraries, conv: Conv, variant: str) -> None:
    x, b = normal(conv.height, conv.width, conv.ic), normal(conv.oc)
    w = normal(conv.oc, 1 if conv.depthwise else conv.ic, *conv.kernel)
    residual, y = normal(*conv.output, conv.oc), np.full((*conv.output, conv.oc), np.nan, np.float32)
    packed = packing.depthwise(w) if conv.depthwise else packing.direct(w, 8 if conv.tile else 4)
    scratch = np.zeros(100_000, np.float32)
    arrays = [x, packed, packing.filled(b, 8), residual, y, scratch, scratch, scratch]
    result = libraries[variant].call(conv.name, arrays)[4]
    np.testing.assert_allclose(result, expected(conv, x, w, b, residual), rtol=0, atol=1e-4 if conv.tile else 2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("k", "n"), DENSE)
def test_a_dense_layer_is_a_product_of_matrices(libraries: Libraries, k: int, n: int, variant: str) -> None:
    x, w, b, residual, y = normal(k), normal(n, k), normal(n), normal(n), np.full(n, np.nan, np.float32)
    arrays = [x, packing.dense(w), packing.filled(b, 4), residual, y]
    result = libraries[variant].call(f"dense_{k}_{n}", arrays)[4]
    np.testing.assert_allclose(result, np.maximum(w.astype(float) @ x + b + residual, 0), rtol=0, atol=2e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", POOLS)
def test_a_pool_takes_only_what_lies_in_the_image(libraries: Libraries, name: str, variant: str) -> None:
    kind, channels, height, width, kernel, stride, pad, oh, ow = POOLS[name]
    x = normal(height, width, channels)
    padded = np.full((height + 2 * pad, width + 2 * pad, channels), np.nan)
    padded[pad : pad + height, pad : pad + width] = x
    result = libraries[variant].call(name, [x, np.zeros((oh, ow, channels), np.float32)])[1]
    for i in range(oh):
        for j in range(ow):
            window = padded[i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            reduce = {"RC_MAX_POOL": np.nanmax, "RC_AVERAGE_OF_IMAGE": np.nanmean}.get(
                kind, lambda a, axis: np.nansum(a, axis) / kernel**2
            )
            np.testing.assert_allclose(result[i, j], reduce(window, axis=(0, 1)), rtol=0, atol=1e-6)
