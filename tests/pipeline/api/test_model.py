"""An emitted model as a function: its process, what it is given and gives, and what becomes of faults."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recast import Model, RecastError
from recast.pipeline.processes import verb_call
from tests.lib.repository import ROOT
from tests.lib.service import MODEL


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Those of a model that sums, and misbehaves where its first number says so."""
    (tmp_path / "a_model.py").write_text(MODEL)
    path = os.pathsep.join(map(str, (ROOT / "src", ROOT, tmp_path)))
    monkeypatch.setattr(verb_call, "python_path", lambda *given: path)
    return {
        "recipe": "r",
        "target": "t",
        "local": str(tmp_path),
        "predictor": {"python": sys.executable, "module": "a_model", "emitted": str(tmp_path / "emit")},
    }


@pytest.fixture
def model(artifacts: dict[str, object], tmp_path: Path) -> Iterator[Model]:
    with Model(tmp_path, artifacts, 1) as opened:
        yield opened


SAMPLE = [[0, 1, 2], [3, 4, 5.5]]


def test_one_sample_and_several_of_lists_and_arrays(model):
    assert model.name == "r/t" and model.about["classes"] == ["a", "b"] and "(2, 3)" in repr(model)
    assert model(SAMPLE).tolist() == [15.5, -15.5]
    assert model(np.float64([SAMPLE] * 2)).tolist() == [[15.5, -15.5]] * 2
    assert model(np.ones((2, 3), bool), values="normalised").tolist() == [6, -6]


def test_several_inputs_and_outputs_go_by_name(artifacts, tmp_path):
    (tmp_path / "several").mkdir()
    artifacts["predictor"]["emitted"] = str(tmp_path / "several")
    with Model(tmp_path, artifacts, 1) as model:
        assert "(2, 3), (2,)" in repr(model)
        one = {"image": [[0, 51, 0], [255, 0, 0]], "ids": [3, 4]}
        answer = model(one)
        assert answer["most"] == 4 and answer["sum"] == pytest.approx([3.2, 5.0])
        both = model({"image": [one["image"]] * 2, "ids": [one["ids"], [0, 9]]})
        assert both["most"].tolist() == [4, 9] and both["sum"].shape == (2, 2)
        with pytest.raises(RecastError, match="the input 'ids' is missing"):
            model({"image": one["image"]})


def test_what_it_does_not_take_is_refused_and_the_next_is_answered(model):
    with pytest.raises(RecastError, match=r"shape \[1, 1, 4\]"):
        model([[1, 2, 3, 4]])
    with pytest.raises(RecastError, match="takes numbers"):
        model([["a", "b", "c"]] * 2)
    with pytest.raises(RecastError, match="r/t failed: RuntimeError"):
        model([[3, 0, 0], [0, 0, 0]])
    with pytest.raises(RecastError, match="no outputs"):
        model([[5, 0, 0], [0, 0, 0]])
    assert model(SAMPLE).tolist() == [15.5, -15.5]


def test_a_process_that_ends_is_said_and_so_is_one_that_has_ended(model):
    with pytest.raises(RecastError, match="the process of r/t ended with 7"):
        model([[2, 0, 0], [0, 0, 0]])
    with pytest.raises(RecastError, match="has ended; open the model again"):
        model(SAMPLE)
    model.close()
    model.close()


def test_a_model_that_cannot_be_loaded_leaves_no_process(artifacts, tmp_path):
    (tmp_path / "unreadable").touch()
    with pytest.raises(RecastError, match="no such weights"):
        Model(tmp_path, artifacts, 1)
    with pytest.raises(RecastError, match="no runtime on this machine"):
        Model(tmp_path, {**artifacts, "predictor": None}, 1)
