# environment: serve
"""Several inputs and outputs over HTTP, by name."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from tests.lib.service import Service, serving

IMAGE, IDS = [[0, 51, 0], [255, 0, 0]], [3, 4]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service"), emitted="several") as running:
        yield running


def test_one_sample_and_two(service: Service) -> None:
    one = {"image": IMAGE, "ids": IDS}
    code, said = service.predict(one, values="stored")
    assert code == 200 and said["output"]["most"] == 4
    np.testing.assert_allclose(said["output"]["sum"], [3.2, 5.0], atol=1e-6)
    code, said = service.predict({"image": [IMAGE] * 2, "ids": [IDS, [0, 9]]}, values="stored")
    assert code == 200 and said["output"]["most"] == [4, 9] and len(said["output"]["sum"]) == 2


def test_tensor_protos_and_a_large_body(service: Service) -> None:
    def encoded(values: Any) -> str:
        return base64.b64encode(numpy_helper.from_array(values).SerializeToString()).decode()

    count = 8000  # beyond what is read where the service runs
    given = {"image": encoded(np.ones((count, 2, 3), np.float32)), "ids": encoded(np.tile(IDS, (count, 1)))}
    code, said = service.predict(given)
    assert code == 200 and said["output"]["sum"] == [[6, 7]] * count and said["output"]["most"] == [4] * count


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"image": IMAGE}, 422, "the input 'ids' is missing; the model takes image, ids"),
        ({"image": IMAGE, "ids": IDS, "more": [1]}, 422, "the input 'more' is not known"),
        ({"image": [IMAGE], "ids": [IDS, IDS]}, 422, "the inputs hold 1 of image, 2 of ids"),
        ({"image": [IMAGE], "ids": [[1.5, 0]]}, 422, "the input ids holds 1.5, which is no int64"),
        ({"image": [[1, 2]], "ids": IDS}, 422, "the input image has shape [1, 1, 2], and the model takes [2, 3]"),
        (IMAGE, 422, "one array was sent, and the model takes 2 inputs by name: image, ids"),
        ({}, 400, "'input' holds no input"),
        ({"image": IMAGE, "ids": [[1], [1, 2]]}, 400, "'input' of 'ids' is ragged"),
        ({"image": IMAGE, "ids": None}, 400, "'input' of 'ids' is neither a list nor a base64 TensorProto"),
    ],
)
def test_what_is_wrong_is_said_by_name(service: Service, given: Any, code: int, message: str) -> None:
    answered, said = service.predict(given)
    assert answered == code and message in said["error"], said


def test_it_says_what_it_takes(service: Service) -> None:
    _, said, _ = service.send("GET", "/model")
    assert [(one["name"], one["shape"], one["dtype"]) for one in said["inputs"]] == [
        ("image", [2, 3], "float32"),
        ("ids", [2], "int64"),
    ]
    assert [one["name"] for one in said["outputs"]] == ["sum", "most"]
    assert json.dumps(said["inputs"][0]["divisor"]) == "255.0"
