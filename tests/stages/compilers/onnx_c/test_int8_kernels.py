# environment: wasm
"""Every quantized kernel on random shapes, SIMD, without SIMD and native, against integer arithmetic in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recast.stages.compilers.onnx_c.kernels import packing
from tests.lib.onnx_c.kernel_bench import VARIANTS, Array, Libraries

STREAM = np.random.default_rng(7)
LOW, HIGH, OWN, OTHER = -20, 235, 0.625, 0.8
REQUANTIZATION = f"{{m, {LOW}, {HIGH}, {OWN}f, {OTHER}f, 0, {HIGH}}}"
INCLUDES = "".join(
    f'#include "{name}.h"\n'
    for name in ("int8_winograd", "int8_depthwise_conv", "int8_dense", "int8_pooling", "int8_pointwise")
)


@dataclass(frozen=True)
class Conv:
    """A quantized convolution by one of the kernels."""

    name: str
    kind: str
    ic: int
    oc: int
    height: int
    width: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    residual: bool = False

    @property
    def output(self) -> tuple[int, int]:
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        size = zip((self.height, self.width), reach, self.stride, strict=True)
        rows, columns = ((length - extent) // step + 1 for length, extent, step in size)
        return rows, columns

    def c(self) -> str:
        """A C function of input, weights, bias, scales, residual, output and Winograd's three buffers."""
        (kh, kw), (sy, sx), (dy, dx), (oh, ow) = self.kernel, self.stride, self.dilation, self.output
        names = (
            "int16_t *x, int8_t *w, int32_t *b, float *m, int16_t *r, int16_t *y, int16_t *u, int16_t *v, int32_t *p"
        )
        call = {
            "direct": "rc_int8_conv(s, in, w, b, res, f, out);",
            "depthwise": "rc_int8_depthwise_conv(s, in, w, b, res, f, out);",
            "winograd": f"rc_int8_winograd_weights({self.ic}, {-(-self.oc // 8)}, w, u);"
            "rc_int8_winograd_conv(8, s, in, u, b, res, f, out, v, p);",
        }[self.kind]
        return f"""
void {self.name}({names});
void {self.name}({names}) {{
  const rc_conv_shape s = {{{self.ic}, {self.oc}, {kh}, {kw}, {sy}, {sx}, {dy}, {dx}, {oh}, {ow}}};
  const rc_int8_source in = {{x, {self.width * self.ic}, {self.ic}}};
  const rc_int8_source res = {{{"r" if self.residual else "0"}, {ow * self.oc}, {self.oc}}};
  const rc_int8_target out = {{y, {ow * self.oc}, {self.oc}}};
  const rc_requantization f = {REQUANTIZATION};
  (void)r, (void)u, (void)v, (void)p;
  {call}
}}"""


CONVS = [
    Conv("plain", "direct", 16, 16, 8, 8),
    Conv("ragged", "direct", 3, 13, 9, 7, residual=True),
    Conv("one_by_one", "direct", 5, 2, 6, 9, kernel=(1, 1)),
    Conv("strided", "direct", 7, 20, 11, 12, kernel=(5, 3), stride=(2, 3)),
    Conv("dilated", "direct", 5, 9, 13, 12, dilation=(2, 3), residual=True),
    Conv("one_channel", "direct", 1, 6, 12, 12, kernel=(5, 5)),
    Conv("depthwise", "depthwise", 11, 11, 9, 10, residual=True),
    Conv("depthwise_strided", "depthwise", 20, 20, 9, 13, kernel=(5, 4), stride=(2, 2)),
    Conv("winograd", "winograd", 16, 16, 10, 10, residual=True),
    Conv("winograd_ragged", "winograd", 5, 13, 9, 12),
    Conv("winograd_narrow", "winograd", 11, 3, 7, 5, residual=True),
]
DENSE = [(37, 10), (64, 32), (5, 21), (128, 7)]
POINTWISE = 45


def dense_c(k: int, n: int) -> str:
    name, arguments = f"dense_{k}_{n}", "int16_t *x, int8_t *w, int32_t *b, float *m, int16_t *y"
    return f"""
void {name}({arguments});
void {name}({arguments}) {{
  const rc_requantization f = {REQUANTIZATION};
  rc_int8_dense({k}, {n}, x, w, b, f, y);
}}"""


OTHERS = f"""
void pools(int16_t *x, int16_t *largest, int16_t *mean);
void pools(int16_t *x, int16_t *largest, int16_t *mean) {{
  const rc_pool_shape s = {{11, 7, 9, 3, 3, 2, 2, 1, 1, 1, 1, 4, 5}};
  const rc_int8_source in = {{x, 99, 11}};
  const rc_int8_target first = {{largest, 55, 11}}, second = {{mean, 55, 11}};
  rc_int8_pool(s, RC_MAX_POOL, in, 1, {LOW}, {HIGH}, first);
  rc_int8_pool(s, RC_AVERAGE_OF_IMAGE, in, 0.75f, {LOW}, {HIGH}, second);
}}
void pointwise(float *x, int16_t *q, float *back, int16_t *y, int16_t *sum);
void pointwise(float *x, int16_t *q, float *back, int16_t *y, int16_t *sum) {{
  rc_quantize({POINTWISE}, x, 0.03f, {LOW}, {HIGH}, q);
  rc_dequantize({POINTWISE}, q, 0.03f, back);
  rc_int8_add({POINTWISE}, q, {OWN}f, y, {OTHER}f, {LOW}, {HIGH}, sum);
}}
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    cases = [conv.c() for conv in CONVS] + [dense_c(k, n) for k, n in DENSE] + [OTHERS]
    return Libraries(INCLUDES + "".join(cases), Path(tmp_path_factory.mktemp("kernels")))


def activations(*shape: int) -> Array:
    return STREAM.integers(-255, 256, shape).astype(np.int16)


def rounded(values: Array, low: int, high: int) -> Array:
    """float32 -> int16, as the kernels round and clip."""
    assert values.dtype == np.float32
    return np.round(np.clip(values, np.float32(low), np.float32(high))).astype(np.int16)


def same(result: Array, wanted: Array, variant: str) -> None:
    """Equal; natively a compiler may join a product and a sum, which moves a rare value by one step."""
    difference = np.abs(result.astype(int) - wanted)
    assert difference.max() <= (variant == "native") and np.mean(difference > 0) < 0.01
    assert len(np.unique(wanted)) > min(20, wanted.size // 2), "the values should not all be clipped"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("conv", CONVS, ids=lambda conv: conv.name)
def test_a_convolution_is_exact(libraries: Libraries, conv: Conv, variant: str) -> None:
    depthwise, (sy, sx), (dy, dx), (oh, ow) = conv.kind == "depthwise", conv.stride, conv.dilation, conv.output
    x, bias = activations(conv.height, conv.width, conv.ic), STREAM.integers(-5000, 5000, conv.oc).astype(np.int32)
    w = STREAM.integers(-128, 128, (conv.oc, 1 if depthwise else conv.ic, *conv.kernel)).astype(np.int8)
    scale = (STREAM.uniform(0.5, 2, conv.oc) / 250 / np.sqrt(w[0].size)).astype(np.float32)
    residual, y = activations(*conv.output, conv.oc), np.zeros((*conv.output, conv.oc), np.int16)
    total = np.zeros((oh, ow, conv.oc), np.int64) + bias
    for i in range(conv.kernel[0]):
        for j in range(conv.kernel[1]):
            window = x[i * dy : i * dy + (oh - 1) * sy + 1 : sy, j * dx : j * dx + (ow - 1) * sx + 1 : sx].astype(int)
            total += window * w[:, 0, i, j] if depthwise else window @ w[:, :, i, j].T.astype(int)
    wanted = rounded(total.astype(np.float32) * scale, LOW, HIGH)
    if conv.residual:
        added = wanted.astype(np.float32) * np.float32(OWN) + residual.astype(np.float32) * np.float32(OTHER)
        wanted = rounded(added, 0, HIGH)
    packed = {
        "direct": lambda: packing.int8_direct(w, by_row=conv.dilation[1] == 1),
        "depthwise": lambda: packing.int8_depthwise(w),
        "winograd": lambda: packing.int8_direct(w, by_row=False, least=8),
    }[conv.kind]()
    scratch = np.zeros(50_000, np.int32)
    arrays = [x, packed, packing.filled(bias, 8), packing.filled(scale, 8), residual, y, scratch, scratch, scratch]
    same(libraries[variant].call(conv.name, arrays)[5], wanted, variant)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("k", "n"), DENSE)
def test_a_dense_layer_is_exact(libraries: Libraries, k: int, n: int, variant: str) -> None:
    x, bias, y = activations(k), STREAM.integers(-5000, 5000, n).astype(np.int32), np.zeros(n, np.int16)
    w = STREAM.integers(-128, 128, (n, k)).astype(np.int8)
    scale = (STREAM.uniform(0.5, 2, n) / 250 / np.sqrt(k)).astype(np.float32)
    wanted = rounded((w.astype(int) @ x + bias).astype(np.float32) * scale, LOW, HIGH)
    arrays = [x, packing.int8_dense(w), packing.filled(bias, 8), packing.filled(scale, 8), y]
    result = libraries[variant].call(f"dense_{k}_{n}", arrays)[4]
    np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pools_of_quantized_values(libraries: Libraries, variant: str) -> None:
    x = activations(7, 9, 11)
    padded = np.full((9, 11, 11), np.nan)
    padded[1:8, 1:10] = x
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))[::2, ::2]
    _, largest, mean = libraries[variant].call("pools", [x, *(np.zeros((4, 5, 11), np.int16) for _ in range(2))])
    np.testing.assert_array_equal(largest, np.nanmax(windows, (3, 4)))
    wanted = np.clip(np.round(np.nanmean(windows, (3, 4)) * 0.75), LOW, HIGH)
    assert np.abs(mean - wanted).max() <= 1 and np.mean(mean != wanted) < 0.02


@pytest.mark.parametrize("variant", VARIANTS)
def test_to_and_from_float_and_a_sum(libraries: Libraries, variant: str) -> None:
    x, y = STREAM.normal(size=POINTWISE).astype(np.float32), activations(POINTWISE)
    x[:3] = 0.015, 0.045, -0.045  # halves are rounded to the even number
    empty = [np.zeros(POINTWISE, kind) for kind in (np.int16, np.float32, np.int16)]
    _, q, back, _, total = libraries[variant].call("pointwise", [x, empty[0], empty[1], y, empty[2]])
    np.testing.assert_array_equal(q, rounded(x / np.float32(0.03), LOW, HIGH))
    np.testing.assert_array_equal(back, q.astype(np.float32) * np.float32(0.03))
    wanted = rounded(q.astype(np.float32) * np.float32(OWN) + y.astype(np.float32) * np.float32(OTHER), LOW, HIGH)
    same(total, wanted, variant)
