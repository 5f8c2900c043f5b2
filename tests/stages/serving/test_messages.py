# environment: serve
from __future__ import annotations

import json

import numpy as np
import pytest

from recast.stages.serving import messages


@pytest.mark.parametrize(
    ("array", "dtype"),
    [(np.float64([[1, 2.5]]), np.float32), (np.array([[2**53 + 1, -1]]), np.int64), (np.array([True]), np.int64)],
)
def test_an_array_arrives_as_it_was_sent(array: np.ndarray, dtype: type[np.generic]) -> None:
    line, _, data = messages.encode({"a": 1}, array).partition(b"\n")
    said = json.loads(line)
    assert said["a"] == 1 and messages.size(said) == len(data)
    found = messages.decode(said, data)
    assert found.dtype == dtype and found.tolist() == array.tolist()


def test_a_message_alone_has_no_bytes() -> None:
    sent = messages.encode({"a": 1})
    assert sent.endswith(b"\n") and messages.size(json.loads(sent)) == 0
