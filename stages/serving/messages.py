"""How the service and the process of a model talk: a line of JSON, then the bytes of a float32 array if it says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def encode(message: dict[str, Any], array: NDArray[np.float32] | None = None) -> bytes:
    """The message as bytes; an array goes with it, little-endian, its shape in `shape`."""
    if array is None:
        return json.dumps(message).encode() + b"\n"
    return json.dumps({**message, "shape": array.shape}).encode() + b"\n" + array.astype("<f4").tobytes()


def size(message: dict[str, Any]) -> int:
    """How many bytes of an array follow the message."""
    if "shape" not in message:
        return 0
    count = 4
    for axis in message["shape"]:
        count *= int(axis)
    return count


def decode(message: dict[str, Any], data: bytes) -> NDArray[np.float32]:
    """The array that came with a message."""
    import numpy as np

    array: NDArray[np.float32] = np.frombuffer(data, "<f4").reshape(message["shape"])
    return array
