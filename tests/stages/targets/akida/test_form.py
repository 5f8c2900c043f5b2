# environment: akida
"""Parity through Akida's lowering: the layers of the integer graph and of the akida model, and faults planted there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import Inputs, StageError
from recast.stages.common.dataset import read_contract, read_stored
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity import comparison
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.report import ERRORS, REPORT
from recast.stages.parity.verify import float_forms
from recast.stages.targets.akida import calibrate, emit, quantize, runtime, verify
from recast.stages.targets.akida.form import AkidaForm, IntegerForm, LoweredForm, scales
from recast.stages.trunk.rewrites import simplify_process
from tests.lib.contracts import AGREE
from tests.lib.faults import change, copy
from tests.lib.faults import node as maker
from tests.lib.onnx_models import CLASSES, Workplace, initializer, model, write_data


def network(seed: int = 0) -> Any:
    """Three convolutions and three dense layers, all of which Akida has."""
    import onnx

    random = np.random.default_rng(seed)
    node = onnx.helper.make_node
    nodes, weights, x = [], [], "image"
    for index, (inputs, outputs) in enumerate([(1, 8), (8, 8), (8, 8)], 1):
        weights.append(
            initializer(f"conv{index}.weight", random.normal(0, (2 / inputs / 9) ** 0.5, (outputs, inputs, 3, 3)))
        )
        weights.append(initializer(f"conv{index}.bias", random.normal(0, 0.1, outputs)))
        ports = [x, f"conv{index}.weight", f"conv{index}.bias"]
        nodes.append(node("Conv", ports, [f"conv{index}"], f"node_conv{index}", pads=[1, 1, 1, 1]))
        nodes.append(node("Relu", [f"conv{index}"], [f"relu{index}"], f"node_relu{index}"))
        x = f"relu{index}"
    nodes.append(node("Flatten", [x], ["flat"], "node_flat"))
    x = "flat"
    for index, (inputs, outputs) in enumerate([(512, 16), (16, 16)], 1):
        weights.append(initializer(f"fc{index}.weight", random.normal(0, (2 / inputs) ** 0.5, (outputs, inputs))))
        weights.append(initializer(f"fc{index}.bias", random.normal(0, 0.1, outputs)))
        nodes.append(
            node("Gemm", [x, f"fc{index}.weight", f"fc{index}.bias"], [f"fc{index}"], f"node_fc{index}", transB=1)
        )
        nodes.append(node("Relu", [f"fc{index}"], [f"fc{index}.relu"], f"node_fc{index}_relu"))
        x = f"fc{index}.relu"
    weights.append(initializer("head.weight", random.normal(0, 0.35, (len(CLASSES), 16))))
    weights.append(initializer("head.bias", random.normal(0, 0.1, len(CLASSES))))
    nodes.append(node("Gemm", [x, "head.weight", "head.bias"], ["scores"], "node_head", transB=1))
    return model(nodes, weights)


@pytest.fixture(scope="module", params=["stored", "normalised"])
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("akida")
    write_data(root / "data")
    (root / "simplify").mkdir()
    exported = network()
    simplify_process.drop_idle_allowzero(exported)
    onnx_files.write_model(exported, root / "simplify" / "model.onnx")
    place = Workplace(root)
    place.run(quantize.STAGE, "quantize", input=request.param)
    place.run(calibrate.STAGE, "calibrate", samples=64)
    place.run(emit.STAGE, "emit")
    return root


def chain(root: Path, **replaced: Any) -> list[comparison.Conversion]:
    """As `verify` compares them; `replaced`: form -> another ONNX model, or a described akida model."""
    import akida

    inputs = Inputs({name: root / name for name in ("emit", "calibrate", "quantize", "simplify", "data")})
    contract = read_contract(root / "data")
    takes = json.loads((root / "quantize" / "scheme.json").read_text())["input"]
    forms = [*float_forms(inputs, 1), *verify.of_whole(inputs, 1)]
    kinds = {"lowered": LoweredForm, "quantized": IntegerForm}
    for index, named in enumerate(forms):
        if named.name in replaced and named.name != "emitted":
            form = kinds[named.name](replaced[named.name], 1, named.name, contract, takes)
            forms[index] = NamedForm(named.name, form, named.kind)
        elif named.name in replaced:
            integers = onnx_files.read_model(root / "calibrate" / "model.onnx")
            form = AkidaForm(
                akida.Model.from_dict(replaced["emitted"]),
                runtime.read_input(root / "emit"),
                contract,
                read_contract(root / "emit"),
                scales(integers),
                {node.name: node.output[0] for node in integers.graph.node},
                "scores",
            )
            forms[index] = NamedForm("emitted", form, named.kind)
    stored, _ = read_stored(root / "data", "test")
    return comparison.measure(forms, contract.normalise(stored[:32]), {}, agree=AGREE).conversions


def layers_at_fault(conversion: comparison.Conversion) -> tuple[str, ...]:
    return () if conversion.blamed is None else (*conversion.blamed.covers, conversion.blamed.layer)


def test_a_correct_model_is_never_blamed_and_every_layer_is_shown(work: Path) -> None:
    found = chain(work)
    assert [(conversion.before, conversion.after) for conversion in found] == [
        ("simplified", "lowered"),
        ("lowered", "quantized"),
        ("quantized", "emitted"),
    ]
    assert [layers_at_fault(conversion) for conversion in found] == [(), (), ()] and not any(
        conversion.note for conversion in found
    )
    lowered, quantized, emitted = found
    shown = {name for layer in quantized.layers for name in (*layer.covers, layer.layer)}
    assert shown >= {"conv1", "relu1", "conv2", "relu2", "conv3", "relu3", "fc1", "fc1.relu", "fc2.relu", "scores"}
    assert all(layer.alone and 25 < layer.alone.sqnr_db < 70 for layer in quantized.layers)
    assert lowered.output.sqnr_db > 100
    # akida computes the very integers of the ONNX graph; only floats that software quantizes may round another way
    stored = json.loads((work / "quantize" / "scheme.json").read_text())["input"] == "stored"
    assert len(emitted.layers) == (6 if stored else 7)
    assert all(layer.after.sqnr_db >= (200 if stored else 35) for layer in emitted.layers[:-1])
    assert emitted.output.sqnr_db > (100 if stored else 35)
    assert all(layer.steps is not None and layer.steps < 1.01 for layer in emitted.layers)


def test_stored_samples_come_back_from_normalised_ones(work: Path) -> None:
    contract = read_contract(work / "data")
    stored, _ = read_stored(work / "data", "test")
    np.testing.assert_array_equal(contract.stored(contract.normalise(stored)), stored)


def test_verify_names_the_layer_and_leaves_the_report_when_a_limit_is_missed(work: Path, tmp_path: Path) -> None:
    wrong = copy(onnx_files.read_model(work / "calibrate" / "model.onnx"))
    change(wrong, "fc2_Wi", lambda w: w.T)
    (tmp_path / "calibrate").mkdir()
    onnx_files.write_model(wrong, tmp_path / "calibrate" / "model.onnx")
    for name in ("data", "simplify", "quantize"):
        (tmp_path / name).symlink_to(work / name)
    place = Workplace(tmp_path)
    place.run(emit.STAGE, "emit")
    with pytest.raises(
        StageError, match=r"above max_abs_error 0\.5; the error jumps at layer .*fc2.* \(lowered → quantized\)"
    ):
        place.run(verify.STAGE, "verify", max_abs_error=0.5, min_agreement=None)
    report = json.loads((tmp_path / "verify" / REPORT).read_text())
    assert [bool(conversion["blamed"]) for conversion in report["conversions"]] == [False, True, False]
    assert (tmp_path / "verify" / ERRORS.file).is_file()


def test_what_a_scale_cuts_counts_for_the_layer_that_made_it_and_not_for_its_reader(work: Path) -> None:
    import onnx

    wrong = copy(onnx_files.read_model(work / "calibrate" / "model.onnx"))
    change(wrong, "conv3_S_out", lambda shift: shift / 8)
    # the rest of the model knows of it: what is lost is what lies beyond the integers
    noted = next(entry.t for entry in maker(wrong, "relu3").attribute if entry.name == "scale")
    noted.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(noted) * 8))
    for part in ("B", "S_out"):
        change(wrong, f"fc1_{part}", lambda values: values * 8)
    conversion = chain(work, quantized=wrong)[1]
    assert conversion.blamed is not None and conversion.blamed.layer == "relu3"
    alone = {layer.layer: layer.alone.sqnr_db for layer in conversion.layers if layer.alone}
    assert alone["relu3"] < 15
    assert alone["fc1.relu"] > 25
    assert min(conversion.only, key=lambda name: conversion.only[name][0].sqnr_db) == "relu3"
    assert conversion.only["fc1.relu"][0].sqnr_db > 25
