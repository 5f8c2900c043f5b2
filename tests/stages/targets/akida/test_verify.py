# environment: akida
from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.dataset import read_contract, read_stored
from recast.stages.serving.model import Means
from recast.stages.targets.akida import emit, runtime, served, verify
from tests.lib.akida.calibrated_model import workplace
from tests.lib.faults import Weights
from tests.lib.onnx_models import cnn, contents, initializer


def turned() -> Any:
    """The small network with the weights of its classes in another order."""
    import onnx

    made = cnn()
    weight = next(one for one in made.graph.initializer if one.name == "head.weight")
    weight.CopyFrom(initializer("head.weight", onnx.numpy_helper.to_array(weight)[[1, 2, 3, 0]]))
    return made


def test_every_layer_of_the_emitted_model_is_compared(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    metrics = work.run(verify.STAGE, "verify", min_accuracy=0.95)
    assert metrics["agreement"] >= 0.95 and metrics["samples"] == 64
    report = json.loads((tmp_path / "verify/parity.json").read_text())
    assert [one["to"] for one in report["conversions"]] == ["simplified", "lowered", "quantized", "emitted"]
    emitted = report["conversions"][-1]
    assert emitted["kind"] == "same" and emitted["blamed"] is None and len(emitted["layers"]) >= 2
    rows = (tmp_path / "verify/confusion.csv").read_text().splitlines()
    assert rows[0] == "actual,predicted" and len(rows) == 65
    assert 0 <= metrics["activation_sparsity"] < 1 and 0 < metrics["work_at_most_mean"] <= metrics["work_at_most"]
    (table,) = [one for one in verify.STAGE.plots_for({}) if one.y == ("zeros",)]
    assert (tmp_path / "verify" / table.file).read_text().startswith("layer,type,zeros,macs,work_at_most\nconv,")


def spatial(flat: bool) -> Any:
    """Maps of three channels, their pixels in a row or not."""
    import onnx

    net = Weights(0)
    x = net.add("Relu", "relu", [net.conv("stem", "image", 1, 4, pads=[1, 1, 1, 1])])
    end = net.conv("head", x, 4, 3, 1)
    if flat:
        end = net.add("Flatten", "pixels", [net.add("Transpose", "last", [end], perm=[0, 2, 3, 1])])
    made = net.model("spatial", (1, 8, 8), 1, end)
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made)


@pytest.mark.parametrize("flat", [False, True])
def test_spatial_outputs_are_compared_in_the_order_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flat: bool
) -> None:
    work = workplace(tmp_path, spatial(flat))
    work.run(emit.STAGE, "emit")
    stated = read_contract(tmp_path / "emit").outputs[0].shape
    assert stated == ((192,) if flat else (3, 8, 8))
    none = {"task": {"name": "none"}, "min_sqnr_db": 25.0}
    assert work.run(verify.STAGE, "verify", **none)["agreement"] > 0.95
    report = json.loads((tmp_path / "verify/parity.json").read_text())
    assert [one["to"] for one in report["conversions"]] == ["simplified", "lowered", "quantized", "emitted"]
    assert all(one["blamed"] is None and len(one["layers"]) > 1 for one in report["conversions"])
    # as served
    served_model = served.load(tmp_path / "emit", Means(1, None, tmp_path))
    stored, _ = read_stored(tmp_path / "data", "test")
    answer = served_model.answer(stored[:2].astype(np.float32), "stored").scores
    assert answer is not None and answer.shape == (2, *stated)
    np.testing.assert_array_equal(answer, runtime.predictor(tmp_path / "emit")(stored[:2]))
    # channels last, as akida gives them
    monkeypatch.setattr(runtime, "in_order", lambda made, shape: made.reshape(len(made), *shape))
    with pytest.raises(StageError, match="akida computes something else than the integer model"):
        work.run(emit.STAGE, "other")
    with pytest.raises(StageError, match=r"model\.fbz misses \d limit.*head.*\(quantized → emitted\)"):
        work.run(verify.STAGE, "again", **none)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    for name in ("first", "second"):
        work.run(verify.STAGE, name)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_the_model_of_other_weights_is_refused(tmp_path: Path) -> None:
    work, other = workplace(tmp_path / "work"), workplace(tmp_path / "other", turned())
    for one in (work, other):
        one.run(emit.STAGE, "emit")
    shutil.copyfile(other.root / "emit/model.fbz", work.root / "emit/model.fbz")
    with pytest.raises(StageError, match=r"model\.fbz misses 1 limit: agreement 0[0-9.]* is below min_agreement 0\.95"):
        work.run(verify.STAGE, "verify")
    blamed = json.loads((work.root / "verify/parity.json").read_text())["conversions"][-1]["blamed"]
    assert blamed == "flat + scores"  # one layer of Akida


@pytest.mark.parametrize("choice", ["stored", "normalised"])
def test_verify_runs_the_emitted_folder_alone(tmp_path: Path, choice: str) -> None:
    work = workplace(tmp_path, input=choice)
    assert work.run(emit.STAGE, "emit")["input"] == choice
    shutil.rmtree(tmp_path / "calibrate")
    metrics = work.run(verify.STAGE, "verify", min_accuracy=0.95, batch_size=50)
    assert metrics["accuracy_float"] == 1.0
    assert metrics["agreement"] >= 0.95
    assert 0 < metrics["max_abs_error"] < 1
    assert metrics["size_bytes"] == (tmp_path / "emit" / "model.fbz").stat().st_size


def test_verify_names_the_measured_value_and_the_limit(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    with pytest.raises(
        StageError, match=r"model\.fbz misses 1 limit: largest error [0-9.e-]+ is above max_abs_error 1e-06"
    ):
        work.run(verify.STAGE, "verify", max_abs_error=1e-6)


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    (tmp_path / "emit" / "model.fbz").write_bytes(b"nonsense")
    with pytest.raises(StageError, match=r"akida cannot load model\.fbz"):
        work.run(verify.STAGE, "verify")
    (tmp_path / "emit" / "akida_input.json").write_text("{}")
    with pytest.raises(StageError, match=r"cannot read emit/akida_input\.json"):
        work.run(verify.STAGE, "again")


def one_dense() -> Any:
    net = Weights(0)
    return net.model("linear", (1, 8, 8), 4, net.linear("scores", net.add("Flatten", "flat", ["image"]), 64, 4))


def one_convolution() -> Any:
    """Which akida makes an InputConv2D of, the first of all layers."""
    import onnx

    net = Weights(0)
    made = net.model("maps", (1, 8, 8), 1, net.conv("scores", "image", 1, 4, pads=[1, 1, 1, 1]))
    made.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made)


@pytest.mark.parametrize("build", [one_dense, one_convolution])
def test_a_model_of_one_layer_is_compared(tmp_path: Path, build: Callable[[], Any]) -> None:
    """What stands behind it is a dequantizer, which the integer model has not."""
    work = workplace(tmp_path, build())
    work.run(emit.STAGE, "emit")
    work.run(verify.STAGE, "verify", task={"name": "none"}, min_agreement=None, min_sqnr_db=25.0)
    emitted = json.loads((tmp_path / "verify/parity.json").read_text())["conversions"][-1]
    assert emitted["blamed"] is None and emitted["layers"][-1]["tensor"] == "scores"
    assert emitted["layers"][-1]["alone"]["sqnr_db"] > 100
