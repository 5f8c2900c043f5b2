# environment: torch
"""Every task: its metrics beside scikit-learn's, what it refuses, and what it makes of a model's outputs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics as theirs

from recast.stages.base import ProjectCode, StageError
from recast.stages.common.dataset import Contract
from recast.stages.common.samples import Samples
from recast.stages.tasks.task import OWN, TaskReference, of
from tests.lib.contracts import contract as contract_of

RNG = np.random.default_rng(0)


def task(name: str, **options: Any) -> Any:
    return TaskReference.model_validate({"name": name, **options}).load()


def contract(*classes: str, shape: tuple[int, ...] = (4,)) -> Contract:
    return contract_of("own", shape, "float32", 1.0, (0.0,), (1.0,), classes)


def measured(one: Any, outputs: Any, truth: Any, of: Contract, x: Any = None, root: Path = Path()) -> dict[str, float]:
    """In three batches, as stages give them."""
    scorer = one.scored(of, ProjectCode(root))
    x = outputs if x is None else x
    for start in range(0, len(outputs), 17):
        rows = slice(start, start + 17)
        scorer.update(outputs[rows], None if truth is None else truth[rows], x[rows])
    return scorer.metrics()  # type: ignore[no-any-return]


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(StageError) as caught:
        call(*arguments)
    return f"{caught.value.message} | {caught.value.remedy}"


def test_classification() -> None:
    outputs, truth = RNG.normal(size=(50, 3)), RNG.integers(0, 3, 50)
    found = measured(task("classification"), outputs, truth, contract("a", "b", "c"))
    assert found == {"accuracy": pytest.approx(theirs.accuracy_score(truth, outputs.argmax(1)))}
    assert task("classification").agreement(outputs, outputs[::-1]) < 1


def test_an_answer_in_words() -> None:
    """Of the model and of the label in the same words, so that people see whether they are one."""
    of_two, image = contract("no", "yes"), np.zeros((1, 2, 2))
    for name, output, truth, said, true in (
        ("classification", np.array([0.5, 2.0]), np.int64(0), "yes", "no"),
        ("classification", np.array([0.5, 2.0, 3.0]), np.int64(1), "2", "yes"),  # an output to spare has no name
        ("binary", np.array([-0.5]), np.array([1]), "no", "yes"),
        ("multilabel", np.array([1.0, 2.0]), np.array([0, 0]), "no, yes", "no label"),
        ("regression", np.array([0.25]), np.array([-3.0]), "0.25", "-3"),
        ("embedding", np.arange(6.0), np.int64(1), "0, 1, 2, 3, … (6 values)", "1"),
    ):
        one = task(name)
        assert (one.says(output, image, of_two), one.truth_says(truth, of_two)) == (said, true), name
    scores = np.stack([np.zeros((2, 2)), np.array([[1.0, -1.0], [1.0, 1.0]])])
    pixels = task("segmentation")
    assert pixels.says(scores, image, of_two) == "yes 75%, no 25%"
    assert pixels.truth_says(np.array([[0, 1], [1, -1]]), of_two) == "yes 67%, no 33%"
    assert pixels.truth_says(np.full((2, 2), -1), of_two) == ""
    again = task("reconstruction")
    assert again.says(image + 0.5, image, of_two) == "score 0.25"
    assert again.truth_says(np.int64(1), of_two) == "yes"


def test_binary(tmp_path: Path) -> None:
    outputs, truth = RNG.normal(size=(50, 1)).round(1), RNG.integers(0, 2, 50)
    one, of_two = task("binary"), contract("no", "yes")
    found = measured(one, outputs, truth, of_two)
    said = outputs[:, 0] > 0
    assert found == {
        "accuracy": pytest.approx(theirs.accuracy_score(truth, said)),
        "auc": pytest.approx(theirs.roc_auc_score(truth, outputs[:, 0])),
        "f1": pytest.approx(theirs.f1_score(truth, said)),
    }
    assert one.agreement(outputs, -outputs) == pytest.approx((outputs == 0).mean())
    one.write(tmp_path, outputs, truth, outputs, of_two)
    with (tmp_path / "confusion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == ["yes" if yes else "no" for yes in said]


def test_multilabel() -> None:
    outputs, truth = RNG.normal(size=(50, 3)), RNG.integers(0, 2, (50, 3))
    found = measured(task("multilabel"), outputs, truth, contract("a", "b", "c"))
    assert found == {
        "accuracy": pytest.approx(((outputs > 0) == truth).mean()),
        "f1": pytest.approx(theirs.f1_score(truth, outputs > 0, average="macro")),
        "auc": pytest.approx(theirs.roc_auc_score(truth, outputs, average="macro")),
    }


def test_regression() -> None:
    truth = RNG.normal(size=(50, 2)).astype(np.float32)
    outputs = truth + RNG.normal(size=(50, 2), scale=0.3).astype(np.float32)
    assert measured(task("regression"), outputs, truth, contract()) == {
        "mae": pytest.approx(theirs.mean_absolute_error(truth, outputs), rel=1e-5),
        "rmse": pytest.approx(np.sqrt(theirs.mean_squared_error(truth, outputs)), rel=1e-5),
        "r2": pytest.approx(theirs.r2_score(truth, outputs), rel=1e-5),
    }
    spread = np.ptp(outputs, axis=0)
    assert task("regression").agreement(outputs, outputs + 0.04 * spread) == 1
    assert task("regression").agreement(outputs, outputs + 0.06 * spread) == 0


def test_a_loss_of_values_is_of_as_many_outputs() -> None:
    """PyTorch spreads (N, 1) against (N,) to (N, N), and the mean of that is another loss."""
    outputs, truth = torch.randn(5, 1), torch.randn(5, 1)
    made = torch.nn.functional.mse_loss(*task("regression").pair(outputs[:, 0], truth, None, "MSELoss"))
    assert torch.allclose(made, ((outputs - truth) ** 2).mean())
    logits, labels = task("binary").pair(outputs, torch.tensor([0, 1, 1, 0, 1]), None, "SoftMarginLoss")
    assert logits.shape == (5,) and labels.tolist() == [-1, 1, 1, -1, 1]


def test_reconstruction(tmp_path: Path) -> None:
    x = RNG.normal(size=(50, 4)).astype(np.float32)
    labels, _ = task("reconstruction", anomalies=[3, 5]).truth(RNG.integers(0, 6, 50), "own.npz")
    outputs = x + RNG.normal(size=x.shape, scale=0.1) * (1 + 9 * labels[:, None])
    one, of_two = task("reconstruction", anomalies=[3, 5]), contract("normal", "anomaly")
    found = measured(one, outputs, labels, of_two, x)
    scores = np.square(outputs - x).mean(1)
    assert found["auc"] == pytest.approx(theirs.roc_auc_score(labels, scores))
    assert found["mse"] == pytest.approx(scores[labels == 0].mean())
    assert measured(one, outputs, None, of_two, x) == {"mse": pytest.approx(scores.mean())}
    assert (one.trained_on(labels) == (labels == 0)).all()
    one.write(tmp_path, outputs, labels, x, of_two)
    with (tmp_path / "anomaly_scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] == "anomaly" for row in rows] == (labels == 1).tolist()


def test_segmentation() -> None:
    outputs, truth = RNG.normal(size=(20, 3, 5, 4)), RNG.integers(0, 3, (20, 5, 4))
    kept, classes = task("segmentation", ignore=255).truth(np.where(truth == 2, 255, truth), "own.npz")
    found = measured(task("segmentation"), outputs, truth, contract("a", "b", "c"))
    said = outputs.argmax(1)
    assert found["iou"] == pytest.approx(theirs.jaccard_score(truth.ravel(), said.ravel(), average="macro"))
    assert found["pixel_accuracy"] == pytest.approx((said == truth).mean())
    assert classes == ("0", "1") and (kept == -1).sum() == (truth == 2).sum()
    # pixels that do not count are in neither the metrics nor the loss
    two = outputs[:, :2]
    found = measured(task("segmentation"), two, kept, contract("a", "b"))
    counts = truth < 2
    assert found["pixel_accuracy"] == pytest.approx((two.argmax(1)[counts] == truth[counts]).mean())
    table, labels = task("segmentation").pair(torch.tensor(two), torch.tensor(kept), None, "CrossEntropyLoss")
    assert table.shape == (counts.sum(), 2) and labels.tolist() == truth[counts].tolist()


def test_segmentation_of_two_classes_by_one_logit() -> None:
    outputs, truth = RNG.normal(size=(20, 1, 5, 4)), RNG.integers(0, 2, (20, 5, 4))
    one = task("segmentation")
    assert (
        one.misfit((2, 1, 5, 4), contract("a", "b"), (5, 4)) == "" and one.loss_for((2, 1, 5, 4)) == "BCEWithLogitsLoss"
    )
    assert "need (2, 3, 5, 4)" in one.misfit((2, 1, 5, 4), contract("a", "b", "c"), (5, 4))
    found = measured(one, outputs, truth, contract("a", "b"))
    assert found["pixel_accuracy"] == pytest.approx(((outputs[:, 0] > 0) == truth).mean())


def test_embedding() -> None:
    labels = np.arange(40) % 4
    near = np.eye(4)[labels] + RNG.normal(size=(40, 4), scale=0.05)
    assert measured(task("embedding"), near, labels, contract()) == {"recall_at_1": 1.0}
    assert measured(task("embedding"), near, np.arange(40), contract()) == {"recall_at_1": 0.0}
    assert task("embedding").agreement(near, 3 * near) == 1.0 and task("embedding").agreement(near, near[::-1]) < 1


@pytest.mark.parametrize("name", ["none", "detection"])
def test_without_labels_nothing_is_measured_but_the_two_models_are_compared(name: str) -> None:
    outputs = RNG.normal(size=(10, 6, 2))
    assert measured(task(name), outputs, None, contract()) == {}
    assert task(name).agreement(outputs, 1.05 * outputs) == 1.0 and task(name).agreement(outputs, 1.2 * outputs) == 0.0


def test_a_metric_of_the_projects_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metrics.py").write_text(
        "import numpy as np\ndef worst(outputs, truth):\n    return np.abs(outputs - truth).max()\n"
        "def broken(outputs, truth):\n    return truth['boxes']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    outputs, truth = RNG.normal(size=(30, 2)), RNG.normal(size=(30, 2))
    one = task("regression", metric="own_metrics:worst")
    found = measured(one, outputs, truth, contract(), root=tmp_path)
    assert found["worst"] == pytest.approx(np.abs(outputs - truth).max()) and "mae" in found
    assert one.shown == "worst" and {"min_worst", "max_worst", "max_worst_rise", "max_mae"} <= one.limits().keys()
    said = refused(measured, task("none", metric="own_metrics:broken"), outputs, truth, contract(), None, tmp_path)
    assert "the metric own_metrics:broken fails: IndexError" in said and "own_metrics.py:5" in said
    assert "own_metrics.py has no wurst" in refused(
        measured, task("none", metric="own_metrics:wurst"), outputs, truth, contract(), None, tmp_path
    )
    # what a module only imported could be anything
    (tmp_path / "sly.py").write_text("from os import system\nfrom own_metrics import worst\n")
    for name in ("system", "worst"):
        assert "which is no function or class that sly.py defines" in refused(
            measured, task("none", metric=f"sly:{name}"), outputs, truth, contract(), None, tmp_path
        )
    assert "is no module of this repository" in refused(
        measured, task("none", metric="os:system"), outputs, truth, contract(), None, tmp_path
    )


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("classification", None, "own.npz holds no labels, and this task needs them"),
        ("classification", np.zeros((4, 2), int), "task: regression, segmentation"),
        ("binary", np.array([0, 1, 2]), "y holds 2; labels must be 0 or 1"),
        ("binary", np.zeros(4, int), "y holds only 0"),
        ("multilabel", np.zeros(4, int), "y has shape (4,)"),
        ("multilabel", np.full((4, 2), 0.5), "y has dtype float64 and shape (4, 2) | give whole numbers"),
        ("regression", np.array([1, np.nan]), "y holds NaN or infinity, first in sample 1"),
        ("regression", np.array(["a"]), "y has dtype <U1"),
        ("reconstruction", np.ones(4, int), "all samples are anomalies"),
        ("segmentation", np.zeros(4, int), "give a class for each pixel"),
        ("segmentation", np.array([[[0, 1, 255]]]), "set task.ignore to 255 if such pixels do not count"),
        ("embedding", np.zeros((4, 2), int), "give one label per sample"),
        ("detection", np.array([["a"]]), "give numbers of one shape"),
    ],
)
def test_labels_that_are_none_of_the_tasks_are_refused(name: str, y: Any, message: str) -> None:
    assert message in refused(task(name).truth, y, "own.npz")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"name": "clasification"}, "cannot be 'clasification'; did you mean 'classification'?"),
        ({"name": "regression", "ignore": 3}, "regression has no option 'ignore'; it takes none"),
        ({"name": "segmentation", "ignor": 3}, "segmentation has no option 'ignor'; did you mean 'ignore'?"),
        ({"name": "none", "metric": "mean"}, "must be 'module:function'"),
    ],
)
def test_a_task_that_cannot_be_is_refused(said: Any, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TaskReference.model_validate(said)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", OWN)
def test_every_task_is_whole(name: str) -> None:
    one = of({"name": name})
    assert one.name == name and (one.__doc__ or "").strip()
    assert all(hasattr(torch.nn, loss) for loss in one.losses)
    assert one.meaning(contract("a", "b")) and "outputs" in one.answer("outputs", "contract")
    compile(one.answer("outputs", "contract"), "readme", "eval")


def test_a_task_reads_one_of_several_outputs() -> None:
    scores, box = RNG.normal(size=(30, 2)), RNG.normal(size=(30, 4))
    outputs, truth = Samples({"scores": scores, "box": box}), scores.argmax(1)
    for option in ({}, {"output": 0}, {"output": "scores"}):
        assert measured(task("classification", **option), outputs, truth, contract("a", "b")) == {"accuracy": 1.0}
    assert task("none", output=1).judged(outputs) is box
    said = "task.output is points, and the model's outputs are scores, box | set task.output to one of them"
    assert said in refused(task("none", output="points").judged, outputs)
    assert "the model has one output | drop task.output" in refused(task("none", output=1).judged, scores)


def test_agreement_is_the_least_of_all_outputs() -> None:
    """The task's own of the output it reads; of others how many are near, or of whole numbers the same."""
    scores, box, place = RNG.normal(size=(10, 2)), np.ones((10, 4)), np.arange(10)
    whole = Samples({"scores": scores, "box": box, "place": place})
    one = task("classification")
    assert one.agreements(whole, whole) == 1.0
    far = np.where(np.arange(10)[:, None] < 2, 2 * box, 1.01 * box)
    assert one.agreements(whole, Samples({**whole.arrays, "box": far})) == 0.8
    assert one.agreements(whole, Samples({**whole.arrays, "place": place + (place > 6)})) == 0.7
    assert one.agreements(whole, Samples({**whole.arrays, "scores": 3 * scores})) == 1.0  # the same classes
    assert one.agreements(whole, Samples({**whole.arrays, "box": box[:, :2]})) is None
