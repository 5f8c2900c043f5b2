# environment: onnx
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from recast.stages.base import StageError
from recast.stages.common.dataset import Output, read_contract
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.targets.onnxruntime import calibrate, emit, verify
from tests.lib import integer_reference, run_onnx_session, without_vnni
from tests.lib.onnx_models import (
    CONTRACT,
    Workplace,
    cnn,
    cnn_nodes,
    cnn_weights,
    contents,
    images,
    initializer,
    model,
)
from tests.lib.onnxruntime_chain import quantized


def workplace(root: Path, made: Any = None, **scheme: Any) -> Workplace:
    work = quantized(root, made or cnn(), **scheme)
    work.run(calibrate.STAGE, "calibrate")
    return work


def test_emits_a_folder_that_runs_as_its_readme_says(tmp_path: Path) -> None:
    metrics = workplace(tmp_path).run(emit.STAGE, "emit")
    folder = tmp_path / "emit"
    assert set(contents(folder)) == {"model.onnx", "input.json", "README.md"}
    assert metrics["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert read_contract(folder) == replace(CONTRACT, outputs=(Output("scores", (4,)),))
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\['(nw|ne|sw|se)'\]\n", done.stdout)


def with_a_layer_in_float(root: Path) -> dict[str, Any]:
    """Emit a network whose second convolution of three layers stays in float."""
    random = np.random.default_rng(1)
    first, relu, *others = cnn_nodes()
    middle = helper.make_node("Conv", ["positive", "middle.weight"], ["more"], "node_middle", pads=[1, 1, 1, 1])
    others[0].input[0] = "positive_too"
    behind = helper.make_node("Relu", ["more"], ["positive_too"], "node_relu_too")
    weight = initializer("middle.weight", random.normal(size=(2, 2, 3, 3)) * [[[[1]]], [[[30]]]])
    made = model([first, relu, middle, behind, *others], [*cnn_weights(), weight])
    return workplace(root, made, nodes_to_exclude=("node_middle", "node_relu_too")).run(emit.STAGE, "emit")


def test_a_layer_that_is_to_stay_in_float_does_so_as_it_is_shipped(tmp_path: Path) -> None:
    """Between integers onnxruntime would give it integer weights of its own, by one scale for all channels."""
    metrics = with_a_layer_in_float(tmp_path / "work")
    assert metrics["layers_between_integers_in_float"] == 1
    x = CONTRACT.normalise(images(32, 2)[0])
    meant, shipped, found = (
        onnx_session.start((tmp_path / "work" / file).read_bytes(), 1, mode).run(None, {"image": x})[0]
        for file, mode in (
            ("calibrate/model.onnx", "as_written"),
            ("calibrate/model.onnx", "as_shipped"),
            ("emit/model.onnx", "as_shipped"),
        )
    )
    assert not np.allclose(shipped, meant, atol=1e-6)
    assert np.allclose(found, meant, atol=1e-6)


SCHEMES = [{}, {"weight_type": "uint8"}, {"per_channel": False}, {"activation_type": "int8"}]


def test_the_scores_are_the_meant_ones_with_and_without_vnni(tmp_path: Path) -> None:
    for number, scheme in enumerate(SCHEMES):
        metrics = workplace(tmp_path / str(number), **scheme).run(emit.STAGE, "emit")
        assert metrics["nodes_that_may_saturate"] == 0
        assert (
            "the same on x86 processors with VNNI and without"
            in (tmp_path / str(number) / "emit/README.md").read_text()
        )
        shutil.copyfile(tmp_path / str(number) / "emit/model.onnx", tmp_path / f"{number}.onnx")
        np.save(tmp_path / f"{number}.npy", CONTRACT.normalise(images(16, 2)[0])[None])
    with_a_layer_in_float(tmp_path / "float")
    shutil.copyfile(tmp_path / "float/emit/model.onnx", tmp_path / "float.onnx")
    shutil.copyfile(tmp_path / "0.npy", tmp_path / "float.npy")
    without_vnni.python(run_onnx_session.__file__, str(tmp_path), "as_shipped")
    elsewhere = np.load(tmp_path / "float.as_shipped.npy")
    np.testing.assert_allclose(elsewhere, run_onnx_session.outputs(tmp_path / "float.onnx", "as_written"), rtol=1e-5)
    for number in range(len(SCHEMES)):
        path = tmp_path / f"{number}.onnx"
        elsewhere = np.load(path.with_suffix(".as_shipped.npy"))
        assert np.array_equal(elsewhere, run_onnx_session.outputs(path, "as_shipped"))
        meant = integer_reference.outputs(onnx_files.read_model(path), np.load(path.with_suffix(".npy"))[0])
        np.testing.assert_allclose(elsewhere[0], meant, rtol=1e-5)


def test_a_model_whose_sums_may_saturate_is_refused_by_the_names_of_its_nodes(tmp_path: Path) -> None:
    work = workplace(tmp_path, reduce_range=False)
    with pytest.raises(StageError) as caught:
        work.run(emit.STAGE, "emit")
    assert re.fullmatch(
        r"on x86 processors without VNNI the model would give other scores: two products can add up to more than 16 "
        r"bits hold in node 'node_conv' \(Conv: [\d,]+\); node 'node_head' \(Gemm: -?[\d,]+\)",
        caught.value.message,
    )
    assert caught.value.remedy == (
        "leave quantize.reduce_range unset or set it to true, or set emit.allow_saturation to true"
    )
    assert not contents(tmp_path / "emit")


def test_a_recipe_may_accept_that_scores_depend_on_the_processor(tmp_path: Path) -> None:
    work = workplace(tmp_path, reduce_range=False)
    assert work.run(emit.STAGE, "emit", allow_saturation=True)["nodes_that_may_saturate"] == 2
    readme = (tmp_path / "emit/README.md").read_text()
    assert "without VNNI this model may give other scores" in readme and "node 'node_conv'" in readme
    assert "the same on x86" not in readme


def test_verify_runs_the_emitted_folder_alone(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    shutil.rmtree(tmp_path / "calibrate")
    metrics = work.run(verify.STAGE, "verify", min_accuracy=0.95)
    assert metrics["accuracy_float"] == 1.0
    assert metrics["agreement"] >= 0.95
    assert 0 < metrics["max_abs_error"] < 1
    assert (tmp_path / "verify" / verify.STAGE.plots_for({})[0].file).is_file()


def test_verify_names_the_measured_value_and_the_limit(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    with pytest.raises(
        StageError, match=r"model\.onnx misses 1 limit: largest error [0-9.e-]+ is above max_abs_error 1e-06"
    ):
        work.run(verify.STAGE, "verify", max_abs_error=1e-6)


def test_verify_follows_the_contract_in_the_emitted_folder(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    (tmp_path / "emit" / "input.json").write_text("{}")
    with pytest.raises(StageError, match=r"cannot read the input contract emit/input\.json"):
        work.run(verify.STAGE, "verify")


def test_a_wrong_contract_in_the_emitted_folder_is_blamed_on_the_input(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    contract = json.loads((tmp_path / "emit" / "input.json").read_text())
    (tmp_path / "emit" / "input.json").write_text(
        json.dumps({**contract, "inputs": [{**contract["inputs"][0], "divisor": 1.0}]})
    )
    with pytest.raises(StageError, match=r"the error jumps at layer image \(quantized → emitted\)"):
        work.run(verify.STAGE, "verify", max_abs_error=0.5, min_agreement=None)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    (tmp_path / "calibrate" / "model.onnx").write_bytes(b"")
    with pytest.raises(StageError, match=r"model\.onnx is empty"):
        work.run(emit.STAGE, "emit")
