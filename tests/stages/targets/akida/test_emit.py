# environment: akida
from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.dataset import Output, read_contract
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import emit, integer_check, readme, runtime
from recast.stages.targets.akida.layout import Layout
from tests.lib.akida.calibrated_model import workplace
from tests.lib.akida.networks import dense, plain, residual, unequal
from tests.lib.onnx_models import CONTRACT, contents, images, initializer, model


def unpadded() -> Any:
    """Two convolutions, the second without padding, which the hardware does not do."""
    import onnx

    node = onnx.helper.make_node
    random = np.random.default_rng(0)
    nodes = [
        node("Conv", ["image", "first.weight"], ["a"], "node_first", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"], "node_relu"),
        node("Conv", ["b", "second.weight"], ["c"], "node_second"),
        node("Relu", ["c"], ["d"], "node_relu_2"),
        node("Flatten", ["d"], ["e"], "node_flatten"),
        node("Gemm", ["e", "head.weight"], ["scores"], "node_head", transB=1),
    ]
    shapes = {"first.weight": (4, 1, 3, 3), "second.weight": (4, 4, 3, 3), "head.weight": (4, 144)}
    return model(nodes, [initializer(name, random.normal(size=shape)) for name, shape in shapes.items()])


def test_emits_a_folder_that_runs_as_its_readme_says(tmp_path: Path) -> None:
    metrics = workplace(tmp_path).run(emit.STAGE, "emit", require_hardware=True)
    folder = tmp_path / "emit"
    assert set(contents(folder)) == {
        "model.fbz",
        "input.json",
        "akida_input.json",
        "mapping.json",
        "summary.txt",
        "README.md",
        "model.py",
        "host.py",
    }
    assert (metrics["layers"], metrics["layers_in_hardware"], metrics["input"]) == (3, 3, "stored")
    assert read_contract(folder) == replace(CONTRACT, outputs=(Output("scores", (4,)),))
    assert runtime.read_input(folder) == runtime.AkidaInput((8, 8, 1), "NHWC", "uint8", "stored")
    assert "conv (InputConv2D)" in (folder / "summary.txt").read_text()
    readme = (folder / "README.md").read_text()
    assert "| conv | InputConv2D | hardware |" in readme
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, check=True)
    assert re.search(r"\['(nw|ne|sw|se)'\]\n$", done.stdout)


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    work.run(emit.STAGE, "again")
    assert contents(tmp_path / "emit") == contents(tmp_path / "again")


def test_a_layer_left_to_software_is_named_with_the_reason(tmp_path: Path) -> None:
    work = workplace(tmp_path, unpadded())
    work.run(emit.STAGE, "emit")
    layers = {one["layer"]: one for one in json.loads((tmp_path / "emit" / "mapping.json").read_text())["layers"]}
    assert layers["second"]["runs_in"] == "software"
    reason = "it is not padded so that its output is as large as its input"
    assert layers["second"]["reason"] == reason
    assert layers["head"]["runs_in"] == "hardware"
    with pytest.raises(StageError) as caught:
        work.run(emit.STAGE, "again", device="TwoNodesIPv2", require_hardware=True)
    assert caught.value.message == f"1 layer cannot run on TwoNodesIPv2: layer 'second' (Conv2D): {reason}"
    assert caught.value.remedies == (
        "in the model, for layer 'second': pad it to keep the size of its input",
        "set emit.require_hardware to false",
    )


def test_several_devices_get_a_column_each_and_the_same_model(tmp_path: Path) -> None:
    work = workplace(tmp_path, unpadded())
    work.run(emit.STAGE, "emit")
    created = {"num_cnp_tnp": 8, "num_fnp": 2, "include_hrc": False, "name": "no_input_unit"}
    metrics = work.run(emit.STAGE, "several", device=["TwoNodesIPv2", created])
    assert (tmp_path / "several/model.fbz").read_bytes() == (tmp_path / "emit/model.fbz").read_bytes()
    report = json.loads((tmp_path / "several" / "mapping.json").read_text())
    (other,) = report["others"]
    assert (report["device"], other["device"]) == ("TwoNodesIPv2", "no_input_unit")
    assert report["figures"] == {name: metrics[name] for name in report["figures"]}
    assert other["figures"] == {name: metrics[f"{name}_on_no_input_unit"] for name in other["figures"]}
    assert (report["parts"]["hrc"], other["parts"]["hrc"]) == (True, False)
    # without that unit, the first layer is in software as well
    assert metrics["layers_in_software_on_no_input_unit"] == metrics["layers_in_software"] + 1 == 2
    readme = (tmp_path / "several" / "README.md").read_text()
    assert "| | TwoNodesIPv2 | no_input_unit |" in readme and readme.count("\n## Where each layer runs on") == 2
    assert (tmp_path / "several" / "summary.txt").read_text().count("Model Summary") == 2
    with pytest.raises(StageError, match=r"1 layer cannot run on no_input_unit: .*no unit that runs such a layer"):
        workplace(tmp_path / "padded").run(emit.STAGE, "emit", device=["smallest", created], require_hardware=True)


WITHOUT_INPUT_UNIT = {"name": "no_input_unit", "num_cnp_tnp": 16, "num_fnp": 8, "include_hrc": False}


def test_a_device_that_the_choice_of_the_input_did_not_look_at_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = workplace(tmp_path, plain(0))
    capsys.readouterr()
    metrics = work.run(emit.STAGE, "emit", device=[WITHOUT_INPUT_UNIT, "SixNodesIPv2"])
    assert metrics["layers_in_software"] == 1
    assert (
        capsys.readouterr().out.count(
            '"no_input_unit leaves 1 layer to software, and quantize tried no other input there: '
            'set quantize.devices to what emit.device names"'
        )
        == 1
    )
    with pytest.raises(StageError) as caught:
        work.run(emit.STAGE, "all", device=WITHOUT_INPUT_UNIT, require_hardware=True)
    assert caught.value.remedies[-1] == (
        "set quantize.devices to what emit.device names: it tried no other input there"
    )
    # as the remedy says, by whatever name
    unnamed = {name: value for name, value in WITHOUT_INPUT_UNIT.items() if name != "name"}
    told = workplace(tmp_path / "told", plain(0), devices=unnamed)
    told.run(emit.STAGE, "emit", device=WITHOUT_INPUT_UNIT, require_hardware=True)
    assert "no other input" not in capsys.readouterr().out


def test_a_way_to_split_that_the_choice_of_the_input_did_not_look_at_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = dict.fromkeys(("cnp_max_filters", "cnp_max_height", "cnp_max_width"), 2)
    workplace(tmp_path, residual(0)).run(emit.STAGE, "emit", map_constraints=split)
    assert (
        "SixNodesIPv2 leaves 6 layers to software, and quantize tried no other input with these map_constraints: "
        "set quantize.map_constraints to those of emit"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(("network", "choice"), [(dense, {}), (plain, {"input": "stored"})])
def test_where_there_was_no_choice_of_the_input_nothing_is_said_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], network: Any, choice: dict[str, str]
) -> None:
    work = workplace(tmp_path, network(0), **choice)
    nothing = {"num_cnp_tnp": 4, "num_fnp": 0, "include_hrc": False}
    assert work.run(emit.STAGE, "emit", device=nothing)["layers_in_software"] > 0
    assert "no other input" not in capsys.readouterr().out


def test_what_the_model_takes_of_the_device_is_in_metrics_report_and_readme(tmp_path: Path) -> None:
    metrics = workplace(tmp_path, residual(0)).run(emit.STAGE, "emit")
    report = json.loads((tmp_path / "emit" / "mapping.json").read_text())
    assert report["figures"] == {name: metrics[name] for name in report["figures"]}
    assert metrics["macs"] == sum(one["macs"] for one in report["layers"])
    assert metrics["weight_bytes"] == sum(one["weight_bytes"] for one in report["layers"])
    # 3x3 kernels of 8 filters over 8 channels, one byte each
    assert {one["layer"]: one["weight_bytes"] for one in report["layers"]}["second"] == 3 * 3 * 8 * 8
    assert metrics["layers_in_software"] == 0 and metrics["sequences"] == metrics["passes"] == 1
    readme = (tmp_path / "emit" / "README.md").read_text()
    assert f"| NPs that run it, over all passes | {metrics['nps']} |" in readme
    assert "| second | Conv2D | hardware | " in readme


def test_the_last_layers_output_may_have_eight_bits(tmp_path: Path) -> None:
    """As QuantizationParams has it: the scores are then bytes, which a dequantizer follows."""
    stored, found = images(32, 3)[0], {}
    for bits in (None, 8):
        root = tmp_path / str(bits)
        workplace(root, plain(0), last_output_bits=bits).run(emit.STAGE, "emit", require_hardware=True)
        found[runtime.load(root / "emit" / "model.fbz").get_layer("scores").parameters.output_bits] = runtime.predictor(
            root / "emit"
        )(stored)
    assert list(found) == [32, 8]
    assert 0 < np.abs(found[32] - found[8]).max() < 0.1 * np.abs(found[32]).max()


def test_channels_of_dense_layers_that_lie_far_apart_are_won_back_by_equalising(tmp_path: Path) -> None:
    """One scale stands for all of a dense layer's activations: the small ones are lost in its steps."""
    stored, sqnr = images(128, 5)[0], {}
    for equalise in (False, True):
        root = tmp_path / str(equalise)
        work = workplace(root, unequal(0), equalise=equalise)
        work.run(emit.STAGE, "emit", require_hardware=True)
        expected = onnx_files.Session(root / "simplify/model.onnx", 1, "the float model").run(
            CONTRACT.normalise(stored)
        )
        wrong = runtime.predictor(root / "emit")(stored) - expected
        sqnr[equalise] = 20 * np.log10(np.linalg.norm(expected) / np.linalg.norm(wrong))
    assert sqnr[False] < 6 and sqnr[True] > 28


def test_normalised_input_is_read_from_the_model(tmp_path: Path) -> None:
    workplace(tmp_path, input="normalised").run(emit.STAGE, "emit")
    assert runtime.read_input(tmp_path / "emit") == runtime.AkidaInput((1, 8, 8), "NCHW", "float32", "normalised")
    x, y = images(32, seed=3)
    assert (runtime.predictor(tmp_path / "emit")(x).argmax(axis=1) == y).mean() > 0.95


def test_the_readme_shows_what_the_choice_of_the_input_gained(tmp_path: Path) -> None:
    work = workplace(tmp_path, residual(0))
    metrics = work.run(emit.STAGE, "emit", require_hardware=True)
    assert metrics["layers_in_hardware"] == metrics["layers"]
    readme = (tmp_path / "emit" / "README.md").read_text()
    rows = [line.split(" | ") for line in readme.splitlines() if "(uint8" in line]
    assert [row[0] for row in rows] == ["| stored (uint8)", "| normalised (uint8), as chosen"]
    assert rows[1][2:] == ["0", "0", "0", "0 |"] != rows[0][2:]


def test_the_readme_shows_the_devices_that_were_looked_at() -> None:
    tried = [
        {"input": "stored", "input_type": "uint8", "layers": 10, "layers_in_software": {"smallest": None, "mine": 5}},
        {"input": "normalised", "input_type": "uint8", "refused": "no\nway"},
        {"input": "normalised", "input_type": "int8", "layers": 13, "layers_in_software": {"smallest": 0, "mine": 2}},
    ]
    shown = readme.tried_inputs([{**one, "chosen": one is tried[-1]} for one in tried])
    assert shown.splitlines()[-5:] == [
        "| input | layers | smallest | mine |",
        "|---|---|---|---|",
        "| stored (uint8) | 10 | no device takes all | 5 |",
        "| normalised (uint8) | refused: no way | | |",
        "| normalised (int8), as chosen | 13 | 0 | 2 |",
    ]


@pytest.mark.parametrize("input_type", ["uint8", "int8"])
def test_a_first_convolution_computes_the_same_from_either_type(tmp_path: Path, input_type: str) -> None:
    work = workplace(tmp_path, residual(0), input="normalised", input_type=input_type)
    metrics = work.run(emit.STAGE, "emit", require_hardware=True)
    assert metrics["input"] == "normalised"
    stored = images(32, 5)[0]
    simplified = onnx_files.Session(tmp_path / "simplify" / "model.onnx", 1, "the float model")
    expected = simplified.run(CONTRACT.normalise(stored))
    actual = runtime.predictor(tmp_path / "emit")(stored)
    assert np.linalg.norm(actual - expected) < 0.1 * np.linalg.norm(expected)


def test_a_model_that_akida_computes_otherwise_is_refused(tmp_path: Path) -> None:
    """The integers of another model stand for a fault of the conversion."""
    work = workplace(tmp_path)
    work.run(emit.STAGE, "emit")
    integers = onnx_files.read_model(tmp_path / "calibrate" / "model.onnx")
    kept = integer_check.require(integers, tmp_path / "emit", tmp_path / "data", "stored", Layout(CONTRACT.shape), 1)
    assert kept > 60
    other = workplace(tmp_path / "other", residual(0))
    other.run(emit.STAGE, "emit")
    with pytest.raises(StageError, match="akida computes something else than the integer model it was converted from"):
        integer_check.require(integers, tmp_path / "other/emit", tmp_path / "data", "stored", Layout(CONTRACT.shape), 1)
