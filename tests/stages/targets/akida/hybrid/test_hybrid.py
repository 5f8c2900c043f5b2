# environment: akida
"""Models in parts, from quantize to the emitted folder's own runner, on akida's software backend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.base import StageError
from recast.stages.common.dataset import Contract, read_contract, read_stored
from recast.stages.common.onnx_models import onnx_files
from recast.stages.serving.model import Means
from recast.stages.targets.akida import calibrate, emit, quantize, served, verify
from recast.stages.targets.akida.hybrid import chain
from recast.stages.trunk.rewrites import simplify_process
from tests.lib.akida.hybrid_networks import NETWORKS
from tests.lib.onnx_models import CONTRACT, Workplace, cnn, contents, model, write_data, write_export

NONE = {"task": {"name": "none"}, "min_sqnr_db": 20.0, "min_agreement": 0.9}


def emitted(root: Path, network: Any, contract: Contract = CONTRACT, **params: Any) -> tuple[Workplace, dict[str, Any]]:
    """All stages up to emit, and the metrics of that."""
    write_data(root / "data", contract)
    (root / "simplify").mkdir()
    write_export(root / "export", network, root / "data")
    onnx_files.write_model(network, root / "simplify" / "model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize", hybrid=True, **params)
    work.run(calibrate.STAGE, "calibrate")
    return work, work.run(emit.STAGE, "emit")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cut_model_is_emitted_as_one_folder_that_computes_as_the_float_model_does(tmp_path: Path, name: str) -> None:
    network = NETWORKS[name]
    work, metrics = emitted(tmp_path, network.make(), network.contract)
    folder = tmp_path / "emit"
    files = {"parts.json", "input.json", "mapping.json", "summary.txt", "README.md", "model.py", *network.files}
    assert set(contents(folder)) == files
    assert (metrics["parts"], metrics["transfer_bytes"]) == (len(network.files), network.transfer_bytes)
    assert metrics["layers_in_software"] == 0 < metrics["layers_in_hardware"]
    assert metrics["nodes_in_onnx"] == network.nodes_in_onnx
    assert metrics["macs_share_on_akida"] == pytest.approx(network.share, abs=1e-3)
    (output,) = read_contract(folder).outputs
    assert (output.name, output.shape) == (network.output, network.gives)

    measured = work.run(verify.STAGE, "verify", **NONE)
    assert measured["size_bytes"] == sum((folder / file).stat().st_size for file in network.files)
    assert 0 < measured["activation_sparsity"] < 1
    report = json.loads((tmp_path / "verify/parity.json").read_text())
    assert [one["to"] for one in report["conversions"]] == ["simplified", "lowered", "quantized", "emitted"]
    assert [one["blamed"] for one in report["conversions"]] == [None] * 4
    shown = {layer["tensor"] for layer in report["conversions"][-1]["layers"]}
    assert {*network.handed_on, network.output} <= shown

    # as served, and by the folder alone
    stored, _ = read_stored(tmp_path / "data", "test")
    expected = chain.predictor(folder, 1)(stored)
    served_model = served.load(folder, Means(1, None, tmp_path))
    np.testing.assert_array_equal(served_model.answer(stored.astype(np.float32), "stored").scores, expected)
    np.save(tmp_path / "samples.npy", stored)
    command = [sys.executable, str(folder / "model.py"), "samples.npy", "-o", "outputs.npy"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, rtol=0, atol=1e-5)
    float_model = onnx_files.Session(tmp_path / "simplify" / "model.onnx", 1, "the float model")
    wanted = float_model.run(network.contract.normalise(stored))
    assert np.linalg.norm(expected - wanted) < 0.1 * np.linalg.norm(wanted)


def test_a_model_that_goes_as_a_whole_is_the_same_with_and_without(tmp_path: Path) -> None:
    found = []
    for hybrid in (False, True):
        root = tmp_path / str(hybrid)
        write_data(root / "data")
        (root / "simplify").mkdir()
        write_export(root / "export", cnn(), root / "data")
        exported = cnn()
        simplify_process.drop_idle_allowzero(exported)
        onnx_files.write_model(exported, root / "simplify" / "model.onnx")
        Workplace(root).run(quantize.STAGE, "quantize", hybrid=hybrid)
        found.append(contents(root / "quantize"))
    assert found[0] == found[1]


def test_parts_whose_channels_are_equalised_compute_the_same(tmp_path: Path) -> None:
    work, _ = emitted(tmp_path, NETWORKS["between"].make(), equalise=True)
    assert json.loads((tmp_path / "quantize/model/scheme.json").read_text())["equalise"]
    assert work.run(verify.STAGE, "verify", **NONE)["sqnr_db"] > 25
    report = json.loads((tmp_path / "verify/parity.json").read_text())
    assert [one["blamed"] for one in report["conversions"]] == [None] * 4


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two parts on Akida, one in ONNX; quantized, calibrated and emitted twice."""
    found = []
    for name in ("one", "two"):
        emitted(tmp_path / name, NETWORKS["between"].make())
        found.append({stage: contents(tmp_path / name / stage) for stage in ("quantize", "calibrate", "emit")})
    assert len(found[0]["emit"]) == 9
    for stage, files in found[0].items():
        assert files == found[1][stage], stage


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    work, _ = emitted(tmp_path / "cut", NETWORKS["between"].make())
    with pytest.raises(StageError) as caught:
        work.run(emit.STAGE, "again", require_hardware=True)
    assert caught.value.message.startswith("1 node of the model stays in ONNX, and all must be in hardware: ")
    assert "Softplus" in caught.value.message
    assert caught.value.remedies[0] == "set emit.require_hardware to false"
    # no part of it
    nodes = [onnx.helper.make_node("Softplus", ["image"], ["scores"], "node_soft")]
    nothing = model(nodes, [])
    nothing.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(StageError, match="nor does it take a part of the model that holds 5% of its multiplications"):
        emitted(tmp_path / "nothing", onnx.shape_inference.infer_shapes(nothing))
    # a damaged folder names no file beside it
    path = tmp_path / "cut/emit/parts.json"
    path.write_text(path.read_text().replace('"remainder_1"', '"../data"'), encoding="utf-8")
    with pytest.raises(StageError, match="names no part"):
        chain.predictor(tmp_path / "cut/emit", 1)


def test_a_part_of_one_layer_that_takes_stored_samples_is_compared(tmp_path: Path) -> None:
    """It reads the model's input, and gives what the dequantizer behind it makes floats."""
    work, metrics = emitted(tmp_path, NETWORKS["stem"].make(), input="stored")
    assert metrics["layers"] == 2
    work.run(verify.STAGE, "verify", **NONE)
    compared = json.loads((tmp_path / "verify/parity.json").read_text())["conversions"][-1]
    assert compared["blamed"] is None
    (found,) = [layer for layer in compared["layers"] if layer["tensor"] == "stem"]
    assert found["alone"]["sqnr_db"] > 100
