"""What a request may hold, as an array: nested lists of JSON, or a base64 `TensorProto` as Scailable's clients sent."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def from_lists(values: list[Any], what: str = "'input'") -> NDArray[Any]:
    """Nested lists of numbers -> int64 if all are whole, else float32.

    Raises StageError for ragged ones, other things than numbers, NaN and infinity.
    """
    import numpy as np

    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise StageError(f"{what} is ragged: its lists differ in length", "send as many numbers in each") from error
    if array.dtype.kind not in "iuf":
        raise StageError(f"{what} holds something other than numbers", "send nested lists of numbers")
    return _finite(array, what)


def from_base64(text: str, what: str = "'input'") -> NDArray[Any]:
    """A base64 ONNX `TensorProto` -> int64 if it is of whole numbers, else float32.

    Raises StageError unless it is one, of numbers that it holds itself.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    remedy = "send base64.b64encode(onnx.numpy_helper.from_array(x).SerializeToString())"
    try:
        tensor = onnx.TensorProto.FromString(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError, DecodeError) as error:
        raise StageError(f"{what} is no base64 TensorProto", remedy) from error
    # such a tensor names a file on this machine
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise StageError("the TensorProto keeps its data in another file", remedy)
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise StageError(f"the TensorProto cannot be read: {error}", remedy) from error
    if array.dtype.kind not in "biuf" or not array.ndim:
        raise StageError(f"the TensorProto holds {array.dtype} of rank {array.ndim}", "send a tensor of numbers")
    return _finite(array, what)


def _finite(array: NDArray[Any], what: str) -> NDArray[Any]:
    import numpy as np

    if array.dtype.kind in "biu" and (not array.size or array.max() <= np.iinfo(np.int64).max):
        return array.astype(np.int64)
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise StageError(f"{what} holds NaN, infinity or a number beyond float32", "send finite numbers")
    return floats
