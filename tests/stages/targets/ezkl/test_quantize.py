# environment: ezkl
"""EZKL's run arguments in a recipe, and the axes of a model that a circuit needs sizes of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.targets.ezkl import calibrate, quantize
from recast.stages.targets.ezkl.circuit import settings
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace, initializer, model

LEFT_OUT: dict[str, str] = {}
"""run arguments of EZKL's that a recipe cannot set, and why"""


def quantized(root: Path, shape: tuple[int | str, ...], **params: Any) -> Workplace:
    work = circuits.workplace(root, circuits.pooled(shape=shape))
    work.run(quantize.STAGE, "quantize", **params)
    return work


def axes(work: Workplace) -> list[list[int | str]]:
    """Of the input and the output of the network."""
    import onnx

    graph = onnx.load(work.root / "quantize" / settings.NETWORK).graph
    values = (graph.input[0], graph.output[0])
    return [[axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in values]


def test_every_run_argument_of_ezkl_is_offered_or_left_out_for_a_reason() -> None:
    import ezkl

    existing = {name for name in dir(ezkl.PyRunArgs()) if not name.startswith("_")}
    offered = set(quantize.QuantizeParams.model_fields) - {"resources"}
    assert offered | set(LEFT_OUT) == existing
    assert not offered & set(LEFT_OUT)
    assert all(LEFT_OUT.values())


def test_defaults_are_ezkls_but_for_what_is_chosen_otherwise() -> None:
    import ezkl

    theirs, ours = ezkl.PyRunArgs(), quantize.QuantizeParams().run_arguments
    different = {name for name, value in ours.items() if as_ezkl(value) != as_ezkl(getattr(theirs, name))}
    assert different == {"input_visibility"}  # theirs is public
    assert set(dir(theirs)) - set(ours) >= {"decomp_base", "decomp_legs"}  # calibrate chooses


def as_ezkl(value: Any) -> Any:
    return [as_ezkl(one) for one in value] if isinstance(value, list | tuple) else value


def test_axes_that_the_model_names_get_their_sizes(tmp_path: Path) -> None:
    work = quantized(tmp_path / "named", ("batch", 1, "height", "width"), variables={"height": 8, "width": 8})
    assert axes(work) == [[1, 1, 8, 8], [1, 4]]
    fixed = quantized(tmp_path / "fixed", (1, 1, 8, 8))
    raw = [json.loads((one.root / "quantize" / settings.FILE).read_text()) for one in (work, fixed)]
    assert raw[0]["run_args"].pop("variables") == [["batch_size", 1], ["height", 8], ["width", 8]]
    assert raw[1]["run_args"].pop("variables") == [["batch_size", 1]]
    assert raw[0] == raw[1]
    assert work.run(calibrate.STAGE, "calibrate")["max_abs_error"] < 0.15


def test_a_size_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    """Of four quadrants, whose means the last layer wants, two would be left."""
    with pytest.raises(StageError, match="EZKL makes no circuit of Gemm 'head': ") as caught:
        quantized(tmp_path / "work", ("batch", 1, "height", 8), variables={"height": 4})
    assert "sizes in quantize.variables" in caught.value.remedy


def test_a_size_that_the_model_takes_and_the_data_do_not_have_is_refused(tmp_path: Path) -> None:
    """EZKL takes a sample of 64 numbers for two of 32 without a word."""
    import onnx

    node = onnx.helper.make_node
    nodes = [
        node("GlobalAveragePool", ["image"], ["mean"]),
        node("Flatten", ["mean"], ["flat"], axis=1),
        node("Gemm", ["flat", "weight"], ["scores"], transB=1),
    ]
    weights = [initializer("weight", np.ones((4, 1)))]
    network = model(nodes, weights, ("batch", 1, "height", 8), circuits.OPSET)
    work = circuits.workplace(tmp_path / "work", network)
    work.run(quantize.STAGE, "quantize", variables={"height": 4})
    with pytest.raises(StageError, match=r"takes samples of shape \(1, 4, 8\), and the data's have \(1, 8, 8\)"):
        work.run(calibrate.STAGE, "calibrate")


@pytest.mark.parametrize(
    ("shape", "variables", "message", "remedy"),
    [
        (("batch", 1, "height", 8), {}, "has an axis 'height' of any size", "set quantize.variables to {height: SIZE}"),
        (("batch", 1, "height", 8), {"width": 8}, "has no axis 'width'", "it has: batch, height"),
        (("batch", 1, 8, 8), {"batch": 2}, "'batch' is the batch", "set it to 1, or leave it out"),
    ],
)
def test_sizes_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, shape: tuple[int | str, ...], variables: dict[str, int], message: str, remedy: str
) -> None:
    with pytest.raises(StageError, match=message) as caught:
        quantized(tmp_path / "work", shape, variables=variables)
    assert remedy in caught.value.remedy
    assert not any((tmp_path / "work" / "quantize").iterdir())


def test_an_axis_without_a_name_is_refused(tmp_path: Path) -> None:
    network = circuits.pooled(shape=("batch", 1, "height", 8))
    network.graph.input[0].type.tensor_type.shape.dim[2].Clear()
    work = circuits.workplace(tmp_path / "work", network)
    with pytest.raises(StageError, match="has an axis of any size that has no name") as caught:
        work.run(quantize.STAGE, "quantize")
    assert "export it with a fixed shape" in caught.value.remedy


@pytest.mark.parametrize(
    "variables", [{"height": 0}, {"height": -1}, {"height": 1.5}, {"height": True}, {"": 8}, {"batch_size": 2}, [1]]
)
def test_sizes_that_make_no_sense_are_refused_when_the_recipe_is_read(variables: Any) -> None:
    with pytest.raises(ValidationError, match="variables"):
        quantize.QuantizeParams(variables=variables)
