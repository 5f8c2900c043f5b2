# environment: serve
from __future__ import annotations

import base64

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from recast.stages.base import StageError
from recast.stages.serving.tensors import from_base64, from_lists


def encoded(tensor: onnx.TensorProto) -> str:
    return base64.b64encode(tensor.SerializeToString()).decode()


def test_lists_become_float32() -> None:
    array = from_lists([[1, 2.5], [3, 4]])
    assert array.dtype == np.float32 and array.tolist() == [[1, 2.5], [3, 4]]


def test_whole_numbers_stay_exact() -> None:
    array = from_lists([[2**24 + 1, -1]])
    assert array.dtype == np.int64 and array.tolist() == [[2**24 + 1, -1]]
    assert from_lists([2**63]).dtype == np.float32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1], [1, 2]], "ragged"),
        (["1"], "something other than numbers"),
        ([True], "something other than numbers"),
        ([None], "something other than numbers"),
        ([{"a": 1}], "something other than numbers"),
        ([float("nan")], "NaN"),
        ([1e39], "beyond float32"),
    ],
)
def test_other_lists_are_refused(values: list[object], message: str) -> None:
    with pytest.raises(StageError, match=message):
        from_lists(values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, np.float16])
def test_a_tensor_of_any_number_type_is_read(dtype: type[np.generic]) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    array = from_base64(encoded(numpy_helper.from_array(values)))
    assert array.dtype == (np.float32 if np.dtype(dtype).kind == "f" else np.int64)
    assert array.tolist() == values.tolist()


def test_numbers_in_fields_of_their_own_are_read() -> None:
    tensor = onnx.helper.make_tensor("x", onnx.TensorProto.FLOAT, [2], [0.5, 1.5])
    assert tensor.float_data and from_base64(encoded(tensor)).tolist() == [0.5, 1.5]


def test_a_tensor_whose_data_is_in_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "secret").write_bytes(np.float32([1, 2]).tobytes())
    tensor = onnx.TensorProto(dims=[2], data_type=onnx.TensorProto.FLOAT, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=str(tmp_path / "secret"))
    with pytest.raises(StageError, match="another file"):
        from_base64(encoded(tensor))


def test_a_tensor_cut_short_is_refused() -> None:
    tensor = onnx.TensorProto(dims=[4], data_type=onnx.TensorProto.FLOAT, raw_data=b"\0" * 12)
    with pytest.raises(StageError, match="cannot be read"):
        from_base64(encoded(tensor))


@pytest.mark.parametrize("text", ["%%%", "AAAA", "", "é"])
def test_what_is_no_tensor_is_refused(text: str) -> None:
    with pytest.raises(StageError):
        from_base64(text)


def test_strings_are_refused() -> None:
    with pytest.raises(StageError):
        from_base64(encoded(onnx.helper.make_tensor("x", onnx.TensorProto.STRING, [1], [b"a"])))
