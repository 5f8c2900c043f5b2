# environment: wasm
"""The samples in index.html, and what is said of them."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import pytest

from recast.stages.targets.wasm import page
from recast.stages.targets.wasm.project import CLIENTS
from tests.lib.contracts import contract

X = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.mark.parametrize(
    ("classes", "labels", "said"),
    [
        (("a", "b"), np.array([1, 1, 0, 0, 1, 0]), ["a", "b"]),
        ((), np.linspace(0, 1, 6)[:, None], ["true 0", "true 0.2", "true 0.4"]),
        ((), np.zeros((6, 3)), ["", "", ""]),
        (("a", "b"), np.zeros((6, 4, 4), int), ["", "", ""]),
        ((), None, ["", "", ""]),
    ],
)
def test_samples_have_the_label_that_is_short(classes: Any, labels: Any, said: list[str]) -> None:
    described = contract("d", (2,), "float32", 1.0, (0.0,), (1.0,), classes)
    samples = page.choose(described, X, labels, 3)
    assert [sample["label"] for sample in samples] == said
    first = 2 if classes and labels.ndim == 1 else 0
    assert np.frombuffer(base64.b64decode(samples[0]["data"]), np.float32).tolist() == X[first].tolist()


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((3, 8, 8), "uint8", "samples, or images of your own"),
        ((3, 8, 8), "float32", "samples"),
        ((12,), "int64", "samples, which can be edited"),
        ((2, 4000), "float32", "samples"),
    ],
)
def test_what_the_readme_says_the_page_takes(shape: tuple[int, ...], dtype: str, said: str) -> None:
    assert page.takes(contract("d", shape, dtype, 1.0, (0.0,), (1.0,))) == said


def test_the_page_writes_out_as_many_values_as_is_said() -> None:
    code = (CLIENTS.path / "page.js").read_text()
    assert re.search(r"MOST_EDITED = (\d+)", code)[1] == str(page.MOST_EDITED)
