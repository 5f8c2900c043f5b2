# environment: akida
from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.common.dataset import Contract
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import devices, inputs, quantize, quantizeml_steps
from recast.stages.trunk.rewrites import simplify_process
from tests.lib.akida.networks import plain, residual, unequal
from tests.lib.onnx_models import CONTRACT, Workplace, cnn, cnn_nodes, cnn_weights, initializer, model, write_data

FLOATS = replace(CONTRACT, inputs=(replace(CONTRACT.only, stored_dtype="float32", divisor=1.0),))


def workplace(root: Path, exported: Any, contract: Contract = CONTRACT) -> Workplace:
    write_data(root / "data", contract)
    (root / "simplify").mkdir()
    (root / "export").mkdir()
    simplify_process.drop_idle_allowzero(exported)
    onnx_files.write_model(exported, root / "simplify" / "model.onnx")
    return Workplace(root)


def scheme(root: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((root / "quantize" / "scheme.json").read_text())
    return read


def refusal(root: Path, exported: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        workplace(root, exported).run(quantize.STAGE, "quantize")
    return caught.value


def with_activation(node: Any, *weights: Any) -> Any:
    """cnn() with another activation than Relu."""
    nodes = cnn_nodes()
    nodes[1] = node
    return model(nodes, [*cnn_weights(), *weights])


def mlp() -> Any:
    import onnx

    nodes = [
        onnx.helper.make_node("Flatten", ["image"], ["flat"], "node_flatten"),
        onnx.helper.make_node("Gemm", ["flat", "head.weight"], ["scores"], "node_head", transB=1),
    ]
    return model(nodes, [initializer("head.weight", np.eye(4, 64))])


def test_folds_the_normalisation_into_the_first_convolution(tmp_path: Path) -> None:
    metrics = workplace(tmp_path, cnn()).run(quantize.STAGE, "quantize")
    assert (metrics["input"], metrics["input_type"]) == ("stored", "uint8")
    lowered = onnx_files.read_model(tmp_path / "quantize" / "model.onnx")
    assert not {"Mul", "Add", "Reshape"} & {node.op_type for node in lowered.graph.node}
    # layers are named after their weights, as their author named them
    assert {"conv", "head"} <= {node.name for node in lowered.graph.node}
    stored = np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8)).astype(np.uint8)
    expected = onnx_files.Session(cnn(), threads=1).run(CONTRACT.normalise(stored))
    actual = onnx_files.Session(lowered, threads=1).run(stored.astype(np.float32))
    assert np.abs(actual - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("contract", "exported", "choice", "expected"),
    [
        (CONTRACT, cnn, "normalised", ("normalised", "uint8")),
        (FLOATS, cnn, "auto", ("normalised", "uint8")),
        (CONTRACT, mlp, "auto", ("normalised", "int8")),
    ],
)
def test_other_inputs(
    tmp_path: Path, contract: Contract, exported: Any, choice: str, expected: tuple[str, str]
) -> None:
    metrics = workplace(tmp_path, exported(), contract).run(quantize.STAGE, "quantize", input=choice)
    assert (metrics["input"], metrics["input_type"]) == expected
    assert scheme(tmp_path)["input"] == expected[0]


@pytest.mark.parametrize(
    ("contract", "exported", "message"),
    [(FLOATS, cnn, "samples are stored as float32, not uint8"), (CONTRACT, mlp, "does not start with a convolution")],
)
def test_stored_samples_that_cannot_be_taken(tmp_path: Path, contract: Contract, exported: Any, message: str) -> None:
    with pytest.raises(StageError, match=message) as caught:
        workplace(tmp_path, exported(), contract).run(quantize.STAGE, "quantize", input="stored")
    assert caught.value.remedy == "set quantize.input to auto"


def test_auto_takes_the_input_that_brings_most_layers_into_hardware(tmp_path: Path) -> None:
    # an input convolution that reads stored samples feeds one layer only on the processor, and here two layers read it
    metrics = workplace(tmp_path, residual(0)).run(quantize.STAGE, "quantize")
    assert (metrics["input"], metrics["input_type"]) == ("normalised", "uint8")
    stored, normalised = scheme(tmp_path)["inputs_tried"]
    assert (stored["input"], stored["chosen"]) == ("stored", False)
    assert min(stored["layers_in_software"].values()) >= stored["layers"] // 2
    assert (normalised["chosen"], set(normalised["layers_in_software"].values())) == (True, {0})


def test_of_inputs_that_all_leave_layers_to_software_the_least_is_taken() -> None:
    def tried(values: quantizeml_steps.Values, *software: int) -> inputs.Tried:
        counts = tuple(zip(devices.VIRTUAL, software, strict=False))
        return inputs.Tried(inputs.Kind(values, "uint8"), object(), 9, counts)

    stored, normalised = tried("stored", 3, 3), tried("normalised", 5, 0)
    refused = inputs.Tried(inputs.Kind("normalised", "int8"), refusal=StageError("no"))
    assert inputs.choose([refused, stored, normalised]) is normalised
    assert inputs.choose([stored, tried("normalised", 6, 0)]) is stored
    with pytest.raises(StageError, match="no"):
        inputs.choose([refused, refused])


def test_nothing_more_is_tried_where_all_of_it_is_in_hardware(tmp_path: Path) -> None:
    workplace(tmp_path, cnn()).run(quantize.STAGE, "quantize")
    (one,) = scheme(tmp_path)["inputs_tried"]
    assert (one["input"], set(one["layers_in_software"].values())) == ("stored", {0})
    assert set(one["layers_in_software"]) == set(devices.VIRTUAL)


WITHOUT_INPUT_UNIT = {"name": "no_input_unit", "num_cnp_tnp": 16, "num_fnp": 8, "include_hrc": False}


def test_the_choice_looks_at_the_devices_that_it_is_told(tmp_path: Path) -> None:
    """Without the input's unit a convolution of uint8 images is left to software, and an ordinary one is not."""
    work = workplace(tmp_path, plain(0))
    assert work.run(quantize.STAGE, "virtual")["input"] == "stored"
    metrics = work.run(quantize.STAGE, "quantize", devices=WITHOUT_INPUT_UNIT)
    assert (metrics["input"], metrics["input_type"]) == ("normalised", "int8")
    found = scheme(tmp_path)
    assert [one["layers_in_software"] for one in found["inputs_tried"]] == [
        {"no_input_unit": count} for count in (1, 1, 0)
    ]
    (device,) = found["devices"]
    assert {name: device[name] for name in WITHOUT_INPUT_UNIT} == WITHOUT_INPUT_UNIT
    assert json.loads((tmp_path / "virtual/scheme.json").read_text())["devices"] == list(devices.VIRTUAL)
    # of several, over all of them
    several = work.run(quantize.STAGE, "several", devices=["TwoNodesIPv2", WITHOUT_INPUT_UNIT])
    assert (several["input_type"], several["inputs_tried"]) == ("int8", 3)


def test_the_choice_looks_at_how_convolutions_are_split(tmp_path: Path) -> None:
    work = workplace(tmp_path, residual(0))
    assert work.run(quantize.STAGE, "whole")["input"] == "normalised"
    # what then stays in hardware is the input's convolution, and with either input
    split = dict.fromkeys(("cnp_max_filters", "cnp_max_height", "cnp_max_width"), 2)
    assert work.run(quantize.STAGE, "quantize", map_constraints=split)["input"] == "stored"
    assert scheme(tmp_path)["map_constraints"] == split
    assert [set(one["layers_in_software"].values()) for one in scheme(tmp_path)["inputs_tried"]] == [{6}, {6}, {8}]


def test_where_the_smallest_device_is_looked_at_an_input_with_which_none_takes_all_comes_last(tmp_path: Path) -> None:
    metrics = workplace(tmp_path, residual(0)).run(quantize.STAGE, "quantize", devices="smallest")
    assert (metrics["input"], metrics["input_type"]) == ("normalised", "uint8")
    counts = [one["layers_in_software"] for one in scheme(tmp_path)["inputs_tried"]]
    assert counts == [{"smallest": None}, {"smallest": 0}]


@pytest.mark.parametrize(
    ("exported", "choice", "message"),
    [
        (cnn, {"input": "stored", "input_type": "int8"}, "stored samples are uint8, not int8"),
        (
            mlp,
            {"input_type": "uint8"},
            "the first layer cannot read uint8: the model does not start with a conv",
        ),
    ],
)
def test_an_input_type_that_cannot_be_had(tmp_path: Path, exported: Any, choice: dict[str, str], message: str) -> None:
    with pytest.raises(StageError, match=message) as caught:
        workplace(tmp_path, exported()).run(quantize.STAGE, "quantize", **choice)
    assert caught.value.remedy == "set quantize.input_type to auto"


def test_channels_are_equalised_where_a_recipe_asks_for_it(tmp_path: Path) -> None:
    metrics = workplace(tmp_path, unequal(0)).run(quantize.STAGE, "quantize", equalise=True)
    assert metrics["places_equalised"] == 2 and scheme(tmp_path)["equalise"]
    # layers keep their names, and scores every bit
    lowered = onnx_files.read_model(tmp_path / "quantize" / "model.onnx")
    assert {"fc1", "fc2", "scores"} <= {node.name for node in lowered.graph.node}
    x = CONTRACT.normalise(np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8)).astype(np.uint8))
    expected, actual = (onnx_files.Session(one, threads=1).run(x) for one in (unequal(0), lowered))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["weight_bits", "activation_bits", "buffer_bits", "last_output_bits"])
def test_bits_that_quantizeml_has_not_for_onnx_are_refused_in_its_words(name: str) -> None:
    """Its own refusal is asked for, so that the reason is true."""
    from quantizeml.models import QuantizationParams
    from quantizeml.models import quantize as vendors

    with pytest.raises(ValueError, match="Only") as theirs:
        vendors(cnn(), qparams=QuantizationParams(**{name: 4}), samples=np.zeros((1, 1, 8, 8), np.float32))
    said = str(theirs.value).partition(".")[0]
    with pytest.raises(ValidationError, match=re.escape(f"'{said}.'; leave it out")) as ours:
        quantize.QuantizeParams.model_validate({name: 4})
    assert re.search(r"must be (8|32|8 or unset), not 4, since quantizeml", str(ours.value))
    assert quantize.QuantizeParams.model_validate({name: 32 if name == "buffer_bits" else 8})


def test_an_operation_akida_lacks_is_named(tmp_path: Path) -> None:
    import onnx

    error = refusal(tmp_path, with_activation(onnx.helper.make_node("Sigmoid", ["features"], ["positive"], "gate")))
    assert error.message == "Akida cannot run Sigmoid 'gate': it is an operation that Akida does not have"
    assert error.remedy == f"use another operation than Sigmoid, or {quantize.HYBRID}"


def test_a_head_after_the_logits_is_named(tmp_path: Path) -> None:
    import onnx

    exported = cnn()
    exported.graph.node[-1].output[0] = "logits"
    exported.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["scores"], "probabilities", axis=1))
    error = refusal(tmp_path, exported)
    assert error.message.startswith("Akida cannot run Softmax 'probabilities': it gives probabilities")
    assert error.remedy == f"return the scores as they are, or {quantize.HYBRID}"


def test_an_attribute_akida_lacks_is_named(tmp_path: Path) -> None:
    import onnx

    exported = cnn()
    del exported.graph.node[0].attribute[:]
    exported.graph.node[0].attribute.extend(
        [onnx.helper.make_attribute("dilations", [8, 8]), onnx.helper.make_attribute("pads", [8, 8, 8, 8])]
    )
    error = refusal(tmp_path, exported)
    assert error.message == "Akida cannot run layer 'conv' (Conv): it is dilated, and Akida's convolutions are not"
    assert error.remedy == f"drop the dilation, or use a larger kernel, or {quantize.HYBRID}"


def test_a_clip_that_does_not_start_at_zero_is_named(tmp_path: Path) -> None:
    import onnx

    clip = onnx.helper.make_node("Clip", ["features", "low", "high"], ["positive"], "clip")
    message = refusal(tmp_path, with_activation(clip, initializer("low", -1.0), initializer("high", 1.0))).message
    assert message == "Akida cannot run Clip 'clip': it clips from -1, and Akida from 0"


def test_an_operation_in_the_wrong_place_is_named(tmp_path: Path) -> None:
    import onnx

    leaky = onnx.helper.make_node("LeakyRelu", ["features"], ["positive"], "leaky", alpha=0.1)
    message = refusal(tmp_path, with_activation(leaky)).message
    assert message.startswith(
        "Akida cannot run MaxPool 'node_pool': it stands behind LeakyRelu 'leaky', and Akida pools"
    )


def test_what_only_the_conversion_refuses_is_found_here_too(tmp_path: Path) -> None:
    import onnx

    nodes, weights = cnn_nodes(), cnn_weights()
    del nodes[0].attribute[:]
    nodes[0].attribute.append(onnx.helper.make_attribute("pads", [0, 8, 0, 8]))
    weights[0] = initializer("conv.weight", np.ones((2, 1, 1, 17)))
    error = refusal(tmp_path, model(nodes, weights))
    assert error.message == "Akida cannot run layer 'conv' (Conv): it has a kernel of 1x17, and Akida's are square"


def test_nan_in_the_weights(tmp_path: Path) -> None:
    weights = cnn_weights()
    weights[0] = initializer("conv.weight", np.full((2, 1, 3, 3), np.nan))
    assert "holds NaN or infinity" in refusal(tmp_path, model(cnn_nodes(), weights)).message
