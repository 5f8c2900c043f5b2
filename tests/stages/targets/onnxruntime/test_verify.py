# environment: onnx
"""What verify says of an int8 model is said of what runs: a layer that saturates here is blamed, and no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import cpu, onnx_files
from tests.lib import without_vnni
from tests.lib.onnx_models import CONTRACT, cnn, cnn_nodes, cnn_weights, images, initializer, model, write_data
from tests.lib.onnxruntime import verify_folders
from tests.lib.onnxruntime_chain import int8, prepared

CAN_SATURATE = {"per_channel": True, "reduce_range": False, "weight_type": "int8", "activation_type": "int8"}
SEVEN_BITS = CAN_SATURATE | {"reduce_range": True}


def of_single_weights() -> Any:
    """A network whose convolution has one weight per filter, so that no sum of products is large; its Gemm has more."""
    weights = cnn_weights()
    kept = np.zeros((2, 1, 3, 3))
    kept[:, 0, 1, 1] = 1
    weights[0] = initializer("conv.weight", kept)
    return model(cnn_nodes(), weights)


NETWORKS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a blur": (cnn(), CAN_SATURATE, "features + positive"),
    "single weights": (of_single_weights(), CAN_SATURATE, "scores"),
    "a blur in seven bits": (cnn(), SEVEN_BITS, ""),
    "uint8 activations": (cnn(), CAN_SATURATE | {"activation_type": "uint8"}, "features + positive"),
}
"""network -> its model, its scheme, and the layer that saturates without VNNI"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the stages before verify write, made without them: they need not make what can saturate."""
    made = {}
    for name, (float_model, scheme, _) in NETWORKS.items():
        root = made[name] = tmp_path_factory.mktemp("folder")
        write_data(root / "data")
        ready = prepared(float_model, tmp_path_factory.mktemp("scratch"))
        stored, _ = images(64, 1)
        quantized = int8(ready, tmp_path_factory.mktemp("scratch"), CONTRACT.normalise(stored), **scheme)
        for stage, content in (
            ("export", float_model),
            ("simplify", float_model),
            ("quantize", ready),
            ("calibrate", quantized),
            ("emit", quantized),
        ):
            (root / stage).mkdir()
            onnx_files.write_model(content, root / stage / "model.onnx")
        CONTRACT.write(root / "emit")
    return made


@pytest.fixture(scope="module")
def here(folders: dict[str, Path]) -> dict[str, Path]:
    verify_folders.verified("here", list(folders.values()))
    return {name: folder / "here" for name, folder in folders.items()}


@pytest.fixture(scope="module")
def without(folders: dict[str, Path]) -> dict[str, Path]:
    without_vnni.python("-m", verify_folders.__name__, "without", *map(str, folders.values()))
    return {name: folder / "without" for name, folder in folders.items()}


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "parity.json").read_text())
    return found


def blamed(folder: Path) -> dict[str, str]:
    """Conversion -> layer, of those that are blamed."""
    return {
        f"{conversion['from']} → {conversion['to']}": conversion["blamed"]
        for conversion in report(folder)["conversions"]
        if conversion["blamed"]
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_a_layer_that_saturates_is_blamed_where_it_does(without: dict[str, Path], network: str) -> None:
    layer = NETWORKS[network][2]
    assert blamed(without[network]) == ({"quantized → emitted": layer} if layer else {})
    emitted = report(without[network])["conversions"][-1]
    guilty = [one for one in emitted["layers"] if one["alone_steps"] and one["alone_steps"] > 2.5]
    assert bool(guilty) == bool(layer) and all(one["alone"]["sqnr_db"] < 50 for one in guilty)
    # the layers account for all of it
    assert emitted["remainder"]["sqnr_db"] == 200 and report(without[network])["unexplained"] == []


@pytest.mark.parametrize("network", NETWORKS)
def test_the_report_is_of_the_cpu_it_is_made_on(here: dict[str, Path], network: str) -> None:
    layer = NETWORKS[network][2] if cpu.sums_saturate() else ""
    assert blamed(here[network]) == ({"quantized → emitted": layer} if layer else {})
    assert report(here[network])["conversions"][-1]["remainder"]["sqnr_db"] == 200


def with_other_weights(folder: Path, place: Path) -> Path:
    """The folder with the last layer's weights in emit/ turned round, and calibrate/ as it was."""
    shutil.copytree(folder, place)
    made = onnx_files.read_model(place / "emit" / "model.onnx")
    weights = next(one for one in made.graph.initializer if one.name.startswith("head.weight_quantized"))
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), weights.name))
    onnx_files.write_model(made, place / "emit" / "model.onnx")
    return place


def test_an_emitted_layer_that_is_not_the_quantized_one_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    place = with_other_weights(folders["a blur in seven bits"], tmp_path / "folder")
    with pytest.raises(StageError) as caught:
        verify_folders.verified("edited", [place])
    assert "the error jumps at layer scores (quantized → emitted): SQNR falls from " in caught.value.message
    assert caught.value.remedies[0].startswith("run emit again")
    assert blamed(place / "edited") == {"quantized → emitted": "scores"}


@pytest.mark.parametrize("saturates", [False, True])
def test_what_may_saturate_is_refused_only_where_this_cpu_does_not_explain_it(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saturates: bool
) -> None:
    """emit.allow_saturation alone lets such a model come here: the difference is one the recipe has chosen."""
    place = with_other_weights(folders["a blur"], tmp_path / "folder")
    monkeypatch.setattr(cpu, "sums_saturate", lambda: saturates)
    if saturates:
        verify_folders.verified("edited", [place])
        assert blamed(place / "edited")["quantized → emitted"]
        assert report(place / "edited")["conversions"][-1]["note"].startswith("emit.allow_saturation lets sums ")
    else:
        with pytest.raises(StageError, match=r"the emitted model computes something else than the quantized model"):
            verify_folders.verified("edited", [place])


def test_the_kind_of_cpu_is_recorded(here: dict[str, Path], without: dict[str, Path]) -> None:
    for folder, kind in ((here["a blur"], cpu.kind()), (without["a blur"], "x86-64, AVX2 without VNNI")):
        assert report(folder)["cpu"] == json.loads((folder / "metrics.json").read_text())["cpu"] == kind


@pytest.mark.parametrize("network", NETWORKS)
def test_the_report_and_the_metrics_hold_one_largest_error(without: dict[str, Path], network: str) -> None:
    metrics = json.loads((without[network] / "metrics.json").read_text())
    found = report(without[network])["verify"]
    for of in (found["all"], found["compared"]):
        assert of["max_abs_error"] == pytest.approx(metrics["max_abs_error"], rel=1e-3)
    if NETWORKS[network][2]:
        last = report(without[network])["conversions"][-1]["output"]
        assert last["max_abs_error"] == pytest.approx(metrics["max_abs_error"], rel=0.2)
        assert metrics["max_abs_error"] > 0.3
