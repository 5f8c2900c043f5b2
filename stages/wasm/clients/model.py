"""Runs model.wasm in Python with wasmtime and NumPy: pip install wasmtime numpy.

    from model import Model
    model = Model()
    scores = model.predict(model.normalise(pixels))

`python model.py input.base64.txt` prints the scores of a base64 TensorProto.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime
from numpy.typing import NDArray

FLOAT = 1
"""data_type of float32 in onnx.proto"""


class InputError(ValueError):
    """Wrong input; the message says what was found and what is needed."""


class Instance:
    """The module in memory: fixed buffers for input and output, and run(). It imports nothing."""

    def __init__(self, content: bytes) -> None:
        """Compile the module. Raises wasmtime.WasmtimeError if it is none or needs imports, else RuntimeError."""
        self._store = wasmtime.Store()
        module = wasmtime.Module(self._store.engine, content)
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        missing = [name for name in ("memory", "input", "output", "run") if name not in self._exports]
        if missing:
            raise RuntimeError(f"the module exports no {missing[0]}")

    def view(self, port: str, index: int, dtype: Any, shape: Sequence[int]) -> NDArray[Any]:
        """The buffer `index` of `port` ("input" or "output"), which is the module's memory itself.

        To be asked for after each run: memory that has grown may lie elsewhere.
        """
        memory = self._exports["memory"]
        start = self._exports[port](self._store, index)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if start <= 0 or start + size > memory.data_len(self._store):
            raise RuntimeError(f"the module's {port} {index} lies outside its memory")
        address = ctypes.addressof(memory.data_ptr(self._store).contents) + start
        return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)

    def run(self) -> None:
        """Compute the outputs from the inputs."""
        status = self._exports["run"](self._store)
        if status:
            raise RuntimeError(f"the module's run() gives {status}")


class Model:
    """The emitted folder. Not for two threads at once: they would share one memory."""

    def __init__(self, folder: Path | None = None, simd: bool = True) -> None:
        """The folder of this file if none is given; `simd=False` takes the module for machines without SIMD."""
        folder = folder or Path(__file__).resolve().parent
        self.contract: dict[str, Any] = json.loads((folder / "input.json").read_text(encoding="utf-8"))
        self._instance = Instance((folder / ("model.wasm" if simd else "model.nosimd.wasm")).read_bytes())

    def normalise(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Samples as stored (N, *shape) -> the model's input, float32 (N, *shape)."""
        per_channel = (-1,) + (1,) * (len(self.contract["shape"]) - 1)
        mean, std = (np.asarray(self.contract[key], np.float32).reshape(per_channel) for key in ("mean", "std"))
        scaled: NDArray[np.float32] = stored.astype(np.float32) / np.float32(self.contract["divisor"])
        return (scaled - mean) / std

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalised samples, float32 (N, *shape) -> scores, float32 (N, ...). Raises InputError."""
        shape = tuple(self.contract["shape"])
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise InputError(f"the input is {found}; it must be an array of float32")
        if x.shape[1:] != shape or not len(x):
            raise InputError(f"the input has shape {x.shape}; the model takes (N, {', '.join(map(str, shape))})")
        if not np.isfinite(x).all():
            raise InputError("the input holds NaN or infinity")
        batch = self.contract["batch"]
        return np.concatenate([self._run(x[start : start + batch]) for start in range(0, len(x), batch)])

    def predict_tensor_proto(self, text: str) -> NDArray[np.float32]:
        """A base64 ONNX TensorProto, float32 (N, *shape) -> scores. Raises InputError."""
        return self.predict(read_tensor_proto(text))

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        # where these are fewer than a batch, samples of the run before fill it up, and count for nothing
        self._instance.view("input", 0, np.float32, x.shape)[...] = x
        self._instance.run()
        scores = self._instance.view("output", 0, np.float32, self.contract["output"]["shape"])
        return scores[: len(x)].copy()


def read_tensor_proto(text: str) -> NDArray[np.float32]:
    """A base64 ONNX TensorProto of float32 -> the array. Fields are those of onnx.proto. Raises InputError."""
    if not isinstance(text, str):
        raise InputError(f"the tensor is {type(text).__name__}; it must be base64 text")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the tensor is not base64") from error
    dims: list[int] = []
    floats, raw, kind = b"", None, 0
    for field, value in _fields(content):
        if field in (4, 9) and not isinstance(value, bytes):
            raise InputError("the tensor is no TensorProto: its data is a number")
        if field == 1:
            dims += list(_varints(value)) if isinstance(value, bytes) else [value]
        elif field == 2:
            kind = value
        elif field == 4:
            floats += value
        elif field == 9:
            raw = value
        elif field == 14 and value != 0:
            raise InputError("the tensor's data lies in another file")
    if kind != FLOAT:
        raise InputError(f"the tensor has data_type {kind}; it must be 1, float32")
    held = floats if raw is None else raw
    if len(held) % 4:
        raise InputError("the tensor's data is no whole number of float32 values")
    values = np.frombuffer(held, "<f4")
    size = 1
    for length in dims:  # in Python's integers: axes of a malformed tensor overflow NumPy's
        size *= length
    if values.size != size:
        raise InputError(f"the tensor has shape ({', '.join(map(str, dims))}), but {values.size} values")
    return values.astype(np.float32).reshape(dims)


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values of a protobuf message: an int, or the bytes of anything longer."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield field, value
            continue
        if wire == 2:
            length, at = _varint(content, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise InputError("the tensor is no TensorProto: an unknown wire type")
        if at + length > len(content):
            raise InputError("the tensor is no TensorProto, or it is cut short")
        yield field, content[at : at + length]
        at += length


def _varints(content: bytes) -> Iterator[int]:
    at = 0
    while at < len(content):
        value, at = _varint(content, at)
        yield value


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(10):
        if at + shift >= len(content):
            raise InputError("the tensor is no TensorProto, or it is cut short")
        byte = content[at + shift]
        value |= (byte & 127) << (7 * shift)
        if byte < 128:
            return value, at + shift + 1
    raise InputError("the tensor is no TensorProto: a number is too long")


if __name__ == "__main__":
    model = Model()
    for row in model.predict_tensor_proto(Path(sys.argv[1]).read_text(encoding="utf-8")):
        print(" ".join(f"{score:.4f}" for score in row.ravel()))
