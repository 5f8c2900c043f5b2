# environment: onnx
from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import onnx_files
from stages.base import Inputs, StageError
from stages.verify import VerifyParams, verify
from tests.stages.onnx_models import CONTRACT, cnn, cnn_nodes, cnn_weights, initializer, model, write_data


def run(root: Path, predict: Callable[[Any], Any] | None = None, exported: Any = None, **params: Any) -> dict[str, Any]:
    """Verify `predict` (the float model itself, if none is given) against a float model."""
    write_data(root / "data")
    for name in ("simplify", "emit", "verify"):
        (root / name).mkdir()
    onnx_files.write_model(exported or cnn(), root / "simplify" / "model.onnx")
    (root / "emit" / "model.bin").write_bytes(bytes(10))
    session = onnx_files.Session(cnn(), threads=1)
    inputs = Inputs({name: root / name for name in ("emit", "simplify", "data")})
    same = predict or (lambda stored: session.run(CONTRACT.normalise(stored)))
    return verify(VerifyParams(**params), inputs, root / "verify", same, "model.bin")


def wrong(stored: Any) -> Any:
    """Always the first class."""
    return np.tile(np.float32([1, 0, 0, 0]), (len(stored), 1))


def test_metrics_and_confusion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run(tmp_path)
    assert metrics == {
        "accuracy_float": 1.0,
        "accuracy_emitted": 1.0,
        "agreement": 1.0,
        "max_abs_error": 0.0,
        "size_bytes": 10,
        "samples": 64,
    }
    with (tmp_path / "verify" / "confusion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 64
    assert {row["actual"] for row in rows} == set(CONTRACT.classes)
    assert all(row["actual"] == row["predicted"] for row in rows)
    assert '"timing": "latency_per_sample"' in capsys.readouterr().out


def test_samples_limits_how_many(tmp_path: Path) -> None:
    assert run(tmp_path, samples=10)["samples"] == 10


def test_more_samples_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"verify\.samples is 65, but there are 64 test samples"):
        run(tmp_path, samples=65)


def test_every_missed_limit_is_named_with_the_measured_value(tmp_path: Path) -> None:
    with pytest.raises(StageError) as caught:
        run(tmp_path, wrong, min_accuracy=0.9, max_accuracy_drop=0.02, min_agreement=0.8, max_abs_error=0.5)
    message = caught.value.message
    assert message.startswith("model.bin misses 4 limits: accuracy 0.")
    for part in ("is below min_accuracy 0.9", "is below min_agreement 0.8"):
        assert part in message
    for part in ("accuracy drop 0.", "is above max_accuracy_drop 0.02", "is above max_abs_error 0.5"):
        assert part in message


def test_agreement_is_asked_for_unless_it_is_switched_off(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(StageError, match=r"misses 1 limit: agreement 0\.\d+ is below min_agreement 0\.95"):
        run(tmp_path / "a", wrong)
    assert run(tmp_path / "b", wrong, min_agreement=None)["agreement"] < 0.5


def test_nan_from_the_emitted_model(tmp_path: Path) -> None:
    def sometimes(stored: Any) -> Any:
        scores = wrong(stored)
        scores[-1] = np.nan
        return scores

    with pytest.raises(
        StageError, match=r"model\.bin gives NaN or infinity for 1 of 64 samples \(first: test sample 63\)"
    ):
        run(tmp_path, sometimes)


def test_nan_from_the_float_model(tmp_path: Path) -> None:
    weights = cnn_weights()
    weights[-1] = initializer("head.bias", [np.nan, 0, 0, 0])
    with pytest.raises(StageError, match="the float model gives NaN or infinity for 64 of 64 samples"):
        run(tmp_path, exported=model(cnn_nodes(), weights))


def test_outputs_of_the_wrong_shape(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"model\.bin gives outputs of shape \(64, 3\), not \(64, 4\)"):
        run(tmp_path, lambda stored: wrong(stored)[:, :3])
