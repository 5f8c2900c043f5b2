# environment: wasm
"""The worst errors that kernels/base.h states, measured on the native build over each function's range."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from recast.stages.compilers.onnx_c import KERNELS

FUNCTIONS = ("exp", "expm1", "log", "sigmoid", "tanh", "erf", "softplus", "sin", "cos")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("functions")
    lines = [f'#include "{KERNELS.path / "base.h"}"']
    for name in FUNCTIONS:
        lines.append(f"void all_{name}(const float *x, float *y, int n) {{ while (n--) *y++ = rc_{name}(*x++); }}")
    lines.append(
        "void all_pow(const float *x, const float *e, float *y, int n) { while (n--) *y++ = rc_pow(*x++, *e++); }"
    )
    (folder / "functions.c").write_text("\n".join(lines))
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-O2",
        "-shared",
        "-fPIC",
        "-o",
        "functions.so",
        "functions.c",
        "-lm",
    ]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "functions.so"))


def call(library: ctypes.CDLL, name: str, *arrays: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(arrays[0])
    pointers = [ctypes.c_void_p(each.ctypes.data) for each in (*arrays, y)]
    getattr(library, f"all_{name}")(*pointers, len(y))
    return y


def ulps(found: NDArray[np.float32], exact: NDArray[np.float64]) -> float:
    """The largest distance in units of the last place of the exact value, for exact values that are normal floats."""
    normal = (np.abs(exact) > 1.2e-38) & (np.abs(exact) < 3.4e38)
    assert normal.any()
    unit = np.spacing(np.abs(exact[normal]).astype(np.float32)).astype(np.float64)
    return float((np.abs(found[normal] - exact[normal]) / unit).max())


def spread(low: float, high: float) -> NDArray[np.float32]:
    """Evenly spaced numbers, and numbers of every magnitude down to 1e-30 on both sides of zero."""
    small = np.geomspace(1e-30, max(abs(low), abs(high)), 100_000)
    values = np.concatenate([np.linspace(low, high, 400_001), small, -small])
    return values[(values >= low) & (values <= high)].astype(np.float32)


EXACT = {
    "exp": (np.exp, -110, 95, 1.3),
    "expm1": (np.expm1, -30, 80, 4.4),
    "log": (np.log, 0, 3e38, 0.51),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -87, 90, 2.5),
    "tanh": (np.tanh, -20, 20, 2.5),
    "erf": (np.vectorize(math.erf), -6, 6, 0.51),
    "softplus": (lambda x: np.logaddexp(0, x), -80, 80, 1.9),
    "sin": (np.sin, -1e6, 1e6, 0.51),
    "cos": (np.cos, -1e6, 1e6, 0.51),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_is_as_stated(library: ctypes.CDLL, name: str) -> None:
    exact, low, high, limit = EXACT[name]
    x = spread(low, high)
    assert ulps(call(library, name, x), exact(x.astype(np.float64))) <= limit


def test_the_error_of_pow_is_as_stated(library: ctypes.CDLL) -> None:
    random = np.random.default_rng(0)
    x = np.exp(random.uniform(-20, 20, 300_000)).astype(np.float32)
    y = random.uniform(-4, 4, 300_000).astype(np.float32)
    assert ulps(call(library, "pow", x, y), x.astype(np.float64) ** y.astype(np.float64)) <= 0.51


def test_pow_at_its_corners(library: ctypes.CDLL) -> None:
    ends = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, np.inf, -np.inf, np.nan]
    x, y = (np.ascontiguousarray(each.ravel()) for each in np.meshgrid(np.float32(ends), np.float32(ends)))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(call(library, "pow", x, y), np.power(x, y), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [("exp", np.inf, np.inf), ("exp", -np.inf, 0), ("log", 0, -np.inf), ("log", -1, np.nan), ("log", np.inf, np.inf),
     ("tanh", np.inf, 1), ("tanh", -np.inf, -1), ("sigmoid", -np.inf, 0), ("erf", -np.inf, -1), ("exp", np.nan, np.nan),
     ("tanh", np.nan, np.nan), ("erf", np.nan, np.nan), ("sin", np.inf, np.nan), ("cos", 0, 1)],
)  # fmt: skip
def test_infinities_and_nan(library: ctypes.CDLL, name: str, x: float, y: float) -> None:
    np.testing.assert_array_equal(call(library, name, np.float32([x])), np.float32([y]))
