# environment: report
"""Samples with their answers, of every task, and the charts of what stages write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.common.dataset import Contract, Input
from recast.stages.common.samples import Samples
from recast.stages.parity import answers as kept
from recast.stages.reporting import answers, charts
from tests.lib.contracts import contract as contract_of

RANDOM = np.random.default_rng(0)
COUNT = 30


def gathered(root: Path, contract: Contract, arrays: dict[str, Any], outputs: Any, emitted: Any) -> answers.Samples:
    (root / "data").mkdir()
    (root / "verified").mkdir()
    contract.write(root / "data")
    np.savez(root / "data/test.npz", **arrays)
    kept.write(root / "verified", outputs, emitted)
    target = {"name": "chip", "directories": {"verified": "verified", "data": "data"}}
    # one that has kept nothing is left out
    found = answers.gather(root, [{"name": "none", "directories": {}}, target])
    assert found is not None and found.models == (answers.FLOAT, "chip")
    return found


def worst_at(outputs: Any, at: int, value: Any) -> Any:
    changed = outputs.copy()
    changed[at] = value
    return changed


IMAGES = (RANDOM.integers(0, 256, (COUNT, 1, 8, 8))).astype(np.uint8)
POINTS = RANDOM.normal(size=(COUNT, 4)).astype(np.float32)
LOGITS = np.where(np.arange(COUNT) % 2, 3.0, -3.0).astype(np.float32)[:, None]
MASKS = (RANDOM.random((COUNT, 8, 8)) > 0.5).astype(np.int64)
SCORES = np.stack([1.0 - MASKS, MASKS], axis=1).astype(np.float32)
CASES: dict[str, tuple[tuple[int, ...], str, tuple[str, ...], dict[str, Any], Any, Any]] = {
    # task -> shape and dtype of a sample, classes, arrays, outputs of the float model, what the emitted one says of 7
    "classification": ((4,), "float32", ("a", "b"), {"x": POINTS, "y": np.zeros(COUNT, np.int64)},
                       np.tile(np.float32([2, 1]), (COUNT, 1)), [1, 2]),
    "binary": ((4,), "float32", ("no", "yes"), {"x": POINTS, "y": (LOGITS[:, 0] > 0).astype(np.int64)}, LOGITS, -3.0),
    "multilabel": ((4,), "float32", ("a", "b"), {"x": POINTS, "y": np.ones((COUNT, 2), np.int64)},
                   np.ones((COUNT, 2), np.float32), [-1, -1]),
    "regression": ((4,), "float32", (), {"x": POINTS, "y": POINTS[:, :1]}, POINTS[:, :1], 50.0),
    "segmentation": ((1, 8, 8), "uint8", ("off", "on"), {"x": IMAGES, "y": MASKS}, SCORES, SCORES[7][::-1]),
    "reconstruction": ((4,), "float32", (), {"x": POINTS}, POINTS, 9.0),
    "embedding": ((4,), "float32", (), {"x": POINTS}, POINTS, 0.5),
    "none": ((4,), "float32", (), {"x": POINTS}, POINTS, 9.0),
    "detection": ((4,), "float32", (), {"x": POINTS}, POINTS[:, :, None], 9.0),
}  # fmt: skip


@pytest.mark.parametrize("task", CASES)
def test_the_sample_that_is_most_wrong_comes_first_whatever_the_task(tmp_path: Path, task: str) -> None:
    shape, dtype, classes, arrays, outputs, wrong = CASES[task]
    divisor = 255.0 if dtype == "uint8" else 1.0
    contract = contract_of("own", shape, dtype, divisor, (0.0,), (1.0,), classes, {"name": task})
    found = gathered(tmp_path, contract, arrays, outputs, worst_at(outputs, 7, wrong))
    first, second = found.samples[:2]
    assert first.number == 7 and len(found.samples) == answers.SHOWN
    by_float, by_chip = (first.answers[name] for name in found.models)
    assert by_float.text != by_chip.text and second.answers["chip"].text == second.answers[answers.FLOAT].text
    assert bool(first.truth) is ("y" in arrays)
    if classes:
        assert (by_float.right, by_chip.right) == (True, False) and by_chip.as_float is False
    else:
        assert by_chip.right is None and by_chip.as_float is None
    assert bool(first.image) is (dtype == "uint8") and bool(first.values) is not bool(first.image)
    assert first.stored


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    inputs = (Input("image", (1, 8, 8), "uint8", 255.0), Input("meta", (4,), "float32"))
    contract = Contract("own", inputs, ("a", "b"), {"name": "classification", "output": "kind"})
    outputs = {"size": POINTS, "kind": np.tile(np.float32([2, 1]), (COUNT, 1))}
    emitted = {**outputs, "kind": worst_at(outputs["kind"], 3, [0, 1])}
    arrays = {"image": IMAGES, "meta": POINTS, "y": np.zeros(COUNT, np.int64)}
    found = gathered(tmp_path, contract, arrays, Samples(outputs), Samples(emitted))
    assert (found.samples[0].number, found.samples[0].answers["chip"].text) == (3, "b")
    assert found.samples[0].values.startswith("image ") and not found.samples[0].stored


def test_a_target_that_has_kept_no_answers_shows_none(tmp_path: Path) -> None:
    assert answers.gather(tmp_path, [{"name": "chip", "directories": {"verified": "v", "data": "d"}}]) is None


def test_what_there_is_to_draw_of_a_table() -> None:
    confusion = {"template": "confusion", "x": "actual", "y": ["predicted"]}
    rows = [{"actual": "10", "predicted": "2"}, {"actual": "2", "predicted": "2"}, {"actual": "2", "predicted": "2"}]
    made = charts.draw(confusion, rows)
    assert made is not None and made[1] == "3 samples, 1 wrong; most often 10 taken for 2 (1)"
    assert made[0]["encoding"]["x"]["sort"] == ["2", "10"], "numbers by their size"
    lines = {"template": "linear", "x": "epoch", "y": ["loss"]}
    assert charts.draw(lines, []) is None
    assert charts.draw(lines, [{"epoch": "1", "loss": "0.5"}]) is None, "one point is no curve"
    made = charts.draw(
        lines, [{"epoch": "1", "loss": "0.5"}, {"epoch": "2", "loss": ""}, {"epoch": "3", "loss": "0.25"}]
    )
    assert made is not None and made[1] == "loss ends at 0.25" and len(made[0]["data"]["values"]) == 2
    layers = {"template": "error_by_layer", "x": "layer", "y": ["relative_error", "relative_error_alone"]}
    made = charts.draw(
        layers,
        [
            {"layer": "a", "relative_error": "0.5", "relative_error_alone": ""},
            {"layer": "b", "relative_error": "0", "relative_error_alone": "0"},
        ],
    )
    assert made is not None and made[1] == "the largest relative error is 0.5, at a; 1 of 2 layers have none"
    scatter = {"template": "scatter", "x": "actual", "y": ["predicted"]}
    made = charts.draw(scatter, [{"actual": "1", "predicted": "2"}, {"actual": "x", "predicted": "nan"}])
    assert made is not None and len(made[0]["layer"]) == 2
    assert charts.draw({**scatter, "template": "of_a_plugin"}, [{"actual": "1", "predicted": "2"}]) is None


def test_ranges_are_drawn_beside_those_that_were_seen() -> None:
    spec, told = charts.ranges({"conv": [-1.0, 3.0], "fc": [0.0, 2.0]}, {"conv": [-0.5, 2.5], "other": [0, 1]})
    assert told == "2 ranges, the widest conv from -1 to 3"
    assert {(value["tensor"], value["of"]) for value in spec["data"]["values"]} == {
        ("conv", "calibrated"),
        ("fc", "calibrated"),
        ("conv", "seen before"),
    }
