# environment: onnx
from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import Inputs, StageError
from recast.stages.common.onnx_models import cpu, onnx_files
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.report import ERRORS, REPORT
from recast.stages.parity.verify import VerifyParams, verify
from tests.lib.onnx_models import CONTRACT, cnn, cnn_nodes, cnn_weights, initializer, model, write_data


def run(
    root: Path,
    predict: Callable[[Any], Any] | None = None,
    exported: Any = None,
    forms: Sequence[NamedForm] = (),
    **params: Any,
) -> dict[str, Any]:
    """Verify `predict` (the float model itself, if none is given) against a float model."""
    write_data(root / "data")
    for name in ("simplify", "emit", "verify"):
        (root / name).mkdir()
    onnx_files.write_model(exported or cnn(), root / "simplify" / "model.onnx")
    (root / "emit" / "model.bin").write_bytes(bytes(10))
    session = onnx_files.Session(cnn(), threads=1)
    inputs = Inputs({name: root / name for name in ("emit", "simplify", "data")})
    same = predict or (lambda stored: session.run(CONTRACT.normalise(stored)))
    return verify(VerifyParams(**params), inputs, root / "verify", same, "model.bin", forms)


def wrong(stored: Any) -> Any:
    """Always the first class."""
    return np.tile(np.float32([1, 0, 0, 0]), (len(stored), 1))


def test_metrics_and_confusion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = run(tmp_path)
    assert metrics == {
        "metric": "accuracy",
        "is_share": True,
        "accuracy_float": 1.0,
        "accuracy_emitted": 1.0,
        "agreement": 1.0,
        "cosine": 1.0,
        "sqnr_db": 200.0,
        "max_abs_error": 0.0,
        "size_bytes": 10,
        "samples": 64,
        "cpu": cpu.kind(),
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
    said = r"model\.bin gives outputs of shape \(64, 3\); the data's 4 classes need \(64, 4\)"
    with pytest.raises(StageError, match=said):
        run(tmp_path, lambda stored: wrong(stored)[:, :3])


def mixed_up() -> Any:
    """The float model with its classes mixed up."""
    wrong = cnn()
    head = next(weight for weight in wrong.graph.initializer if weight.name == "head.weight")
    head.CopyFrom(initializer("head.weight", np.roll(onnx_array(head), 1, axis=0)))
    return wrong


def planted(root: Path, **params: Any) -> StageError:
    """Verify the float model against an emitted one whose classes are mixed up; both show their layers."""
    wrong = mixed_up()
    emitted = onnx_files.Session(wrong, threads=1)
    form = NamedForm("emitted", OnnxForm(wrong, 1, "the emitted model"), "int8")
    with pytest.raises(StageError) as caught:
        run(root, lambda stored: emitted.run(CONTRACT.normalise(stored)), forms=[form], **params)
    return caught.value


def onnx_array(tensor: Any) -> Any:
    import onnx

    return onnx.numpy_helper.to_array(tensor)


def test_a_missed_limit_names_the_layer_at_which_the_error_jumps(tmp_path: Path) -> None:
    message = planted(tmp_path).message
    assert message.startswith("model.bin misses 1 limit: agreement 0")
    assert "; the error jumps at layer scores (simplified → emitted): SQNR falls from 200.0 dB " in message
    assert "(largest error 0) before it to " in message


def test_the_report_is_written_before_a_limit_fails(tmp_path: Path) -> None:
    planted(tmp_path, parity_samples=16)
    report = json.loads((tmp_path / "verify" / REPORT).read_text())
    (conversion,) = report["conversions"]
    assert (conversion["from"], conversion["to"], conversion["samples"], conversion["blamed"]) == (
        "simplified",
        "emitted",
        16,
        "scores",
    )
    assert conversion["output"]["agreement"] < 0.5
    with (tmp_path / "verify" / ERRORS.file).open(encoding="utf-8") as file:
        rows = {row["layer"]: float(row["relative_error"]) for row in csv.DictReader(file)}
    assert rows["positive"] == 0 and rows["scores"] > 0.1


@pytest.mark.parametrize("allowed", ["", "the recipe allows it"])
def test_what_must_not_change_the_function_and_does_is_refused_within_all_limits(tmp_path: Path, allowed: str) -> None:
    wrong = mixed_up()
    emitted = onnx_files.Session(wrong, threads=1)
    forms = [
        NamedForm("quantized", OnnxForm(cnn(), 1, "the quantized model"), "int8"),
        NamedForm("emitted", OnnxForm(wrong, 1, "the emitted model"), "same", may_differ=allowed),
    ]

    def predict(stored: Any) -> Any:
        return emitted.run(CONTRACT.normalise(stored))

    if allowed:
        assert run(tmp_path, predict, forms=forms, min_agreement=None)["agreement"] < 0.5
        return
    with pytest.raises(StageError) as caught:
        run(tmp_path, predict, forms=forms, min_agreement=None)
    assert caught.value.message.startswith(
        "the emitted model computes something else than the quantized model it was made from, though no limit is "
        "missed: the error jumps at layer scores (quantized → emitted): SQNR falls from 200.0 dB "
    )
    assert caught.value.remedies == (
        "run emit again, in case its files were changed",
        "change layer scores in the model, or report it with the model",
    )
    (_, last) = json.loads((tmp_path / "verify" / REPORT).read_text())["conversions"]
    assert last["blamed"] == "scores"


def test_a_runtime_that_shows_no_layers_is_compared_by_its_output(tmp_path: Path) -> None:
    with pytest.raises(
        StageError, match=r"from simplified to emitted the output keeps .*the emitted model does not show"
    ):
        run(tmp_path, wrong)
    (conversion,) = json.loads((tmp_path / "verify" / REPORT).read_text())["conversions"]
    assert conversion["to"] == "emitted" and conversion["blamed"] is None and len(conversion["layers"]) == 1


def test_the_same_report_comes_out_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run(tmp_path / name)
    first, second = ((tmp_path / name / "verify" / REPORT).read_bytes() for name in ("a", "b"))
    assert first == second
