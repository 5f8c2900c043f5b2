"""Runs model.wasm in Python with wasmtime and NumPy: pip install wasmtime numpy.

    from model import Model
    model = Model()
    outputs = model.predict(model.normalise(stored))

`python model.py input.base64.txt` prints the outputs for a base64 TensorProto. Of several inputs and outputs, arrays go
by name: `model.predict({"image": ..., "ids": ...})`.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime
from numpy.typing import NDArray

DATA_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    12: "uint32",
    13: "uint64",
}
"""data_type in onnx.proto -> the dtype of its elements"""


Given = NDArray[Any] | Mapping[str, NDArray[Any]]
"""the array of an only input, or an array for each of several by its name"""


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

    def normalise(self, stored: Given) -> Any:
        """Samples as stored (N, *shape) -> the model's input (N, *shape); whole numbers stay as they are.

        Of several inputs they are arrays by name, and so is what comes of them. Raises InputError for a missing one.
        """
        taken = self.contract["inputs"]
        made = {one["name"]: _normalised(value, one) for one, value in zip(taken, self._each(stored), strict=True)}
        return made if len(taken) > 1 else made[taken[0]["name"]]

    def predict(self, x: Given) -> Any:
        """Samples as the model takes them (N, *shape) -> outputs (N, ...), of the types in input.json.

        Of several inputs, or outputs, they are arrays by name. Whole numbers may be of any integer type that holds
        them. Raises InputError.
        """
        inputs, batch = self.contract["inputs"], self.contract["batch"]
        given = []
        for one, value in zip(inputs, self._each(x), strict=True):
            what = "the input" if len(inputs) == 1 else f"the input {one['name']}"
            fitting = _fitting(value, one, what)
            shape = tuple(one["shape"])
            if fitting.shape[1:] != shape or fitting.ndim != len(shape) + 1 or not len(fitting):
                needed = ", ".join(["N", *map(str, shape)])
                raise InputError(f"{what} has shape {fitting.shape}; the model takes ({needed})")
            given.append(fitting)
        counts = {one["name"]: len(value) for one, value in zip(inputs, given, strict=True)}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{count} of {name}" for name, count in counts.items())
            raise InputError(f"the inputs hold {said}; the model takes as many samples of each")
        parts = [self._run([one[start : start + batch] for one in given]) for start in range(0, len(given[0]), batch)]
        made = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return made if len(made) > 1 else next(iter(made.values()))

    def predict_tensor_proto(self, text: str | Mapping[str, str]) -> Any:
        """A base64 ONNX TensorProto (N, *shape) of the input's type -> outputs. Raises InputError.

        Of several inputs they are texts by name.
        """
        inputs = self.contract["inputs"]
        tensors = [read_tensor_proto(one, of["dtype"]) for one, of in zip(self._each(text), inputs, strict=True)]
        named = {one["name"]: tensor for one, tensor in zip(inputs, tensors, strict=True)}
        return self.predict(named)

    def _each(self, given: Any) -> list[Any]:
        """What is given for each input, in the module's order."""
        names = [one["name"] for one in self.contract["inputs"]]
        if not isinstance(given, Mapping):
            if len(names) > 1:
                raise InputError(f"the model takes {len(names)} inputs by name: {', '.join(names)}")
            return [given]
        missing = [name for name in names if name not in given]
        if missing:
            raise InputError(f"the input {missing[0]} is missing; the model takes {', '.join(names)}")
        return [given[name] for name in names]

    def _run(self, batch: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        # where these are fewer than a batch, samples of the run before fill it up, and count for nothing
        for index, x in enumerate(batch):
            self._instance.view("input", index, x.dtype, x.shape)[...] = x
        self._instance.run()
        found, size = {}, self.contract["batch"]
        for index, made in enumerate(self.contract["outputs"]):
            outputs = self._instance.view("output", index, made["dtype"], (size, *made["shape"]))
            found[made["name"]] = outputs[: len(batch[0])].copy()
        return found


def _normalised(stored: NDArray[Any], taken: dict[str, Any]) -> NDArray[Any]:
    if not taken["dtype"].startswith("float"):
        return stored
    per_channel = (-1,) + (1,) * (len(taken["shape"]) - 1)
    mean, std = (np.asarray(taken[key], np.float32).reshape(per_channel) for key in ("mean", "std"))
    scaled: NDArray[np.float32] = stored.astype(np.float32) / np.float32(taken["divisor"])
    return (scaled - mean) / std


def _fitting(x: Any, taken: dict[str, Any], what: str) -> NDArray[Any]:
    """The array in the type of the input that `taken` describes; InputError if it holds anything else."""
    dtype = np.dtype(taken["dtype"])
    found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
    if not isinstance(x, np.ndarray) or (x.dtype != dtype and (dtype.kind == "f" or x.dtype.kind not in "biu")):
        raise InputError(f"{what} is {found}; it must be an array of {dtype if dtype.kind == 'f' else 'integers'}")
    if dtype.kind == "f":
        if not np.isfinite(x).all():
            raise InputError(f"{what} holds NaN or infinity")
        return x
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    low, high = taken.get("bounds", (low, high))
    least, most = (int(x.min()), int(x.max())) if x.size else (low, high)
    if least < low or most > high:
        raise InputError(f"{what} holds {least if least < low else most}; the model takes {low} to {high}")
    return x.astype(dtype)


def read_tensor_proto(text: str, dtype: str = "float32") -> NDArray[Any]:
    """A base64 ONNX TensorProto of this type -> the array. Fields are those of onnx.proto. Raises InputError."""
    if not isinstance(text, str):
        raise InputError(f"the tensor is {type(text).__name__}; it must be base64 text")
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("the tensor is not base64") from error
    dims: list[int] = []
    floats, raw, kind = b"", None, 0
    numbers: list[int] = []
    for field, value in _fields(content):
        if field in (4, 9) and not isinstance(value, bytes):
            raise InputError("the tensor is no TensorProto: its data is a number")
        if field == 1:
            dims += list(_varints(value)) if isinstance(value, bytes) else [value]
        elif field == 2:
            kind = value
        elif field == 4:
            floats += value
        elif field in (5, 7, 11):
            numbers += list(_varints(value)) if isinstance(value, bytes) else [value]
        elif field == 9:
            raw = value
        elif field == 14 and value != 0:
            raise InputError("the tensor's data lies in another file")
    if DATA_TYPES.get(kind) != dtype:
        needed = next(number for number, name in DATA_TYPES.items() if name == dtype)
        raise InputError(f"the tensor has data_type {kind}; it must be {needed}, {dtype}")
    if raw is None and dtype != "float32":
        # a varint holds the bits of a number, of which its type takes the last
        values = np.array([number % 2**64 for number in numbers], np.uint64).astype(dtype)
    else:
        held = floats if raw is None else raw
        stored = np.dtype("uint8" if dtype == "bool" else dtype).newbyteorder("<")
        if len(held) % stored.itemsize:
            raise InputError(f"the tensor's data is no whole number of {dtype} values")
        values = np.frombuffer(held, stored)
    size = 1
    for length in dims:  # in Python's integers: axes of a malformed tensor overflow NumPy's
        size *= length
    if values.size != size:
        raise InputError(f"the tensor has shape ({', '.join(map(str, dims))}), but {values.size} values")
    return values.astype(dtype).reshape(dims)


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


def _print(name: str, outputs: NDArray[Any]) -> None:
    for row in outputs:
        values = " ".join(f"{one:.4f}" if isinstance(one, float) else str(one) for one in row.ravel().tolist())
        print(f"{name}{values}")


if __name__ == "__main__":
    model = Model()
    texts = [Path(path).read_text(encoding="utf-8") for path in sys.argv[1:]]
    names = [one["name"] for one in model.contract["inputs"]]
    if len(texts) != len(names):
        sys.exit(f"give a file for each input, in this order: {' '.join(names)}")
    found = model.predict_tensor_proto(dict(zip(names, texts, strict=True)))
    for output, values in found.items() if isinstance(found, dict) else [("", found)]:
        _print(f"{output}: " if output else "", values)
