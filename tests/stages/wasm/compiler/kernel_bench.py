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
import wasmtime
from numpy.typing import NDArray

KERNELS = Path(__file__).resolve().parents[4] / "stages" / "wasm" / "compiler" / "kernels"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O2"]
WASM = ["-target", "wasm32-freestanding", "-nostdlib", "-Wl,--no-entry", "-Wl,-z,stack-size=262144"]
VARIANTS: Mapping[str, Sequence[str]] = {
    "simd": [*WASM, "-msimd128"],
    "nosimd": WASM,
    "native": ["-shared", "-fPIC"],
}

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


def build(source: str, folder: Path) -> dict[str, Library]:
    """The C source, which includes what it needs of the kernels, for every variant."""
    (folder / "cases.c").write_text(source)
    libraries: dict[str, Library] = {}
    exports = [f"-Wl,--export={name}" for name in re.findall(r"^void (\w+)\(", source, re.MULTILINE)]
    for variant, flags in VARIANTS.items():
        path = folder / f"cases.{'so' if variant == 'native' else f'{variant}.wasm'}"
        links = [] if variant == "native" else exports
        zig = [sys.executable, "-m", "ziglang", "cc", *STRICT, *flags, *links]
        command = [*zig, f"-I{KERNELS}", "-o", str(path), "cases.c"]
        subprocess.run(command, cwd=folder, check=True)
        libraries[variant] = Native(path) if variant == "native" else Wasm(path)
    return libraries
