"""How the service and the process of a model talk: a line of JSON, then the bytes of arrays if it says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Arrays: TypeAlias = "NDArray[Any] | Mapping[str, NDArray[Any]]"
"""of the one input or output, or of each of several by its name"""


def encode(message: dict[str, Any], arrays: Arrays | None = None) -> bytes:
    """The message as bytes; an array goes with it, its shape in `shape` and its type in `dtype`.

    Of arrays by name, what is in `arrays`, in their order. Floats go as float32, whole numbers as int64, little-endian.
    """
    if arrays is None:
        return json.dumps(message).encode() + b"\n"
    if not isinstance(arrays, Mapping):
        said, data = _packed(arrays)
        return json.dumps({**message, **said}).encode() + b"\n" + data
    packed = {name: _packed(array) for name, array in arrays.items()}
    said = {"arrays": {name: one for name, (one, _) in packed.items()}}
    return b"".join([json.dumps({**message, **said}).encode() + b"\n", *(data for _, data in packed.values())])


def _packed(array: NDArray[Any]) -> tuple[dict[str, Any], bytes]:
    dtype = "<f4" if array.dtype.kind == "f" else "<i8"
    return {"shape": array.shape, "dtype": dtype}, array.astype(dtype).tobytes()


def holds(message: Mapping[str, Any]) -> bool:
    """Whether arrays come with the message."""
    return "shape" in message or "arrays" in message


def size(message: Mapping[str, Any]) -> int:
    """How many bytes of arrays follow the message."""
    if "arrays" in message:
        return sum(size(one) for one in message["arrays"].values())
    if "shape" not in message:
        return 0
    count = int(message["dtype"][-1])
    for axis in message["shape"]:
        count *= int(axis)
    return count


def decode(message: Mapping[str, Any], data: bytes) -> Arrays:
    """The array that came with a message, or arrays by name."""
    import numpy as np

    if "arrays" not in message:
        array: NDArray[Any] = np.frombuffer(data, message["dtype"]).reshape(message["shape"])
        return array
    found, start = {}, 0
    for name, one in message["arrays"].items():
        end = start + size(one)
        found[name] = np.frombuffer(data[start:end], one["dtype"]).reshape(one["shape"])
        start = end
    return found


def is_one_sample(model: Mapping[str, Any], sent: Arrays) -> bool:
    """Whether each array is of one sample, and has no axis of samples."""
    ranks = {one["name"]: len(one["shape"]) for one in model.get("inputs", ())}
    if isinstance(sent, Mapping):
        ranks = ranks or dict.fromkeys(sent, len(model["shape"]))
        return all(one.ndim == ranks.get(name) for name, one in sent.items())
    return "shape" in model and sent.ndim == len(model["shape"])


def each(arrays: Arrays, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Arrays:
    """Each array changed alike."""
    return {name: change(one) for name, one in arrays.items()} if isinstance(arrays, Mapping) else change(arrays)
