"""Builds C functions over the kernels once per variant, and calls them with NumPy arrays."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import wasmtime
from numpy.typing import NDArray

KERNELS = Path(__file__).resolve().parents[3] / "stages/compilers/onnx_c/csrc"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2"]
WASM = ["-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry", "-Wl,-z,stack-size=262144"]
FLAGS: Mapping[str, Sequence[str]] = {
    "simd": [*WASM, "-msimd128"],
    "nosimd": WASM,
    "native": ["-shared", "-fPIC"],
}

# the plain C beside the SIMD is the same in a module without SIMD as natively, but takes longer to build
VARIANTS = ("simd", "native", pytest.param("nosimd", marks=pytest.mark.slow))

Array = NDArray[Any]


class Library(Protocol):
    """Functions whose arguments are all pointers."""

    def call(self, function: str, arrays: Sequence[Array]) -> list[Array]:
        """The arrays as the function leaves them; each is followed by 16 bytes that a kernel may read."""


class Native:
    """A shared library."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def call(self, function: str, arrays: Sequence[Array]) -> list[Array]:
        memory = [np.frombuffer(array.tobytes() + bytes(16), np.uint8).copy() for array in arrays]
        getattr(self._library, function)(*(ctypes.c_void_p(block.ctypes.data) for block in memory))
        return [block[:-16].view(array.dtype).reshape(array.shape) for block, array in zip(memory, arrays, strict=True)]


class Wasm:
    """A module in wasmtime."""

    def __init__(self, path: Path) -> None:
        self._store = wasmtime.Store()
        module = wasmtime.Module.from_file(self._store.engine, str(path))
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)

    def call(self, function: str, arrays: Sequence[Array]) -> list[Array]:
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        base = memory.data_len(self._store)
        sizes = [-(-(array.nbytes + 16) // 16) * 16 for array in arrays]
        memory.grow(self._store, -(-sum(sizes) // 65536))
        places = [base + sum(sizes[:i]) for i in range(len(sizes))]
        for place, array in zip(places, arrays, strict=True):
            memory.write(self._store, array.tobytes(), place)
        run = self._exports[function]
        assert isinstance(run, wasmtime.Func)
        run(self._store, *places)
        results = []
        for place, array in zip(places, arrays, strict=True):
            read = bytes(memory.read(self._store, place, place + array.nbytes))
            results.append(np.frombuffer(read, array.dtype).reshape(array.shape))
        return results


class Libraries:
    """The C source, which includes what it needs of the kernels, built for each variant when it is first asked for."""

    def __init__(self, source: str, folder: Path) -> None:
        (folder / "cases.c").write_text(source)
        self._folder, self._built = folder, dict[str, Library]()
        self._exports = [f"-Wl,--export={name}" for name in re.findall(r"^void (\w+)\(", source, re.MULTILINE)]

    def __getitem__(self, variant: str) -> Library:
        if variant not in self._built:
            native = variant == "native"
            path = self._folder / f"cases.{'so' if native else f'{variant}.wasm'}"
            zig = [sys.executable, "-m", "ziglang", "cc", *STRICT, *FLAGS[variant], *([] if native else self._exports)]
            subprocess.run([*zig, f"-I{KERNELS}", "-o", str(path), "cases.c"], cwd=self._folder, check=True)
            self._built[variant] = Native(path) if native else Wasm(path)
        return self._built[variant]
