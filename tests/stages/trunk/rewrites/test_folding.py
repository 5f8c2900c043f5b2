# environment: onnx
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.common.onnx_models import onnx_files
from recast.stages.trunk import simplify
from recast.stages.trunk.rewrites import folding
from tests.lib.onnx_models import Workplace, initializer, write_data, write_export
from tests.lib.onnx_models import model as make_model

OPSETS = [7, 9, 11, 13, 17, 18, 21]
HEAD = [initializer("w", np.random.default_rng(0).normal(size=(64, 4))), initializer("one", [1.0] * 4)]
SAMPLES = np.random.default_rng(1).normal(size=(5, 1, 8, 8)).astype(np.float32)


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    import onnx

    return onnx.helper.make_node(op, inputs, outputs, name=f"{op}_{outputs[0]}", **attributes)


def branch(name: str, nodes: list[Any], outputs: list[str], weights: list[Any] | None = None) -> Any:
    import onnx

    ports = [onnx.helper.make_tensor_value_info(output, 1, None) for output in outputs]
    return onnx.helper.make_graph(nodes, name, [], ports, weights or [])


def scores() -> list[Any]:
    return [node("Flatten", ["image"], ["flat"]), node("MatMul", ["flat", "w"], ["logits"])]


def choice(condition: str, source: str, end: str = "scores") -> Any:
    """An If of two branches that name their tensors alike, one of them with a weight of its own."""
    two = [initializer("two", [2.0] * 4)]
    then = branch(
        "then", [node("Mul", [source, "two"], ["inner"]), node("Add", ["inner", "one"], ["made"])], ["made"], two
    )
    other = branch("other", [node("Neg", [source], ["inner"]), node("Abs", ["inner"], ["made"])], ["made"])
    return node("If", [condition], [end], then_branch=then, else_branch=other)


def folded(exported: Any) -> Any:
    """Checked to be valid and to compute the same."""
    expected = onnx_files.Session(exported, threads=1).run(SAMPLES)
    made = type(exported)()
    made.CopyFrom(exported)
    assert folding.fold(made)
    onnx_files.check(made, "the folded model")
    assert np.array_equal(onnx_files.Session(made, threads=1).run(SAMPLES), expected)
    return made


def operations(model: Any) -> list[str]:
    return [one.op_type for one in model.graph.node]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("taken", [True, False])
def test_the_branch_that_is_taken_replaces_an_if(opset: int, taken: bool) -> None:
    weights = [*HEAD, initializer("condition", taken, np.bool_)]
    made = folded(make_model([*scores(), choice("condition", "logits")], weights, opset=opset))
    assert operations(made) == ["Flatten", "MatMul", *(["Mul", "Add"] if taken else ["Neg", "Abs"])]


def test_two_ifs_whose_branches_name_their_tensors_alike() -> None:
    nodes = [*scores(), choice("condition", "logits", "middle"), choice("condition", "middle")]
    made = folded(make_model(nodes, [*HEAD, initializer("condition", True, np.bool_)]))
    outputs = [name for one in made.graph.node for name in one.output]
    assert len(set(outputs)) == len(outputs) == 6


def test_an_if_in_the_branch_of_an_if_and_a_condition_behind_nodes() -> None:
    inner = branch("then", [choice("known", "logits", "made")], ["made"])
    outer = node(
        "If",
        ["known"],
        ["scores"],
        then_branch=inner,
        else_branch=branch("other", [node("Abs", ["logits"], ["made"])], ["made"]),
    )
    constant = node("Constant", [], ["condition"], value=initializer("value", [True], np.bool_))
    made = folded(make_model([*scores(), constant, node("Identity", ["condition"], ["known"]), outer], HEAD))
    assert "If" not in operations(made)


def test_a_branch_that_gives_a_weight_of_its_own() -> None:
    then = branch("then", [node("Relu", ["logits"], ["a"])], ["a", "c"], [initializer("c", [[3.0] * 4])])
    other = branch("other", [node(op, ["logits"], [op]) for op in ("Abs", "Neg")], ["Abs", "Neg"])
    both = node("If", ["condition"], ["p", "q"], then_branch=then, else_branch=other)
    end = node("Add", ["p", "q"], ["scores"])
    folded(make_model([*scores(), both, end], [*HEAD, initializer("condition", True, np.bool_)]))


def test_a_condition_that_depends_on_the_input_stays() -> None:
    nodes = [
        *scores(),
        node("ReduceMax", ["logits"], ["most"], keepdims=0),
        node("Cast", ["most"], ["condition"], to=9),
    ]
    model = make_model([*nodes, choice("condition", "logits")], HEAD)
    assert folding.fold(model) == 0


@pytest.mark.parametrize("opset", OPSETS)
def test_empty_parts_of_a_concat_are_dropped(opset: int) -> None:
    """Slice has its bounds as attributes before opset 10, and as inputs from there on."""
    bounds = {"starts": [0], "ends": [0], "axes": [1]}
    weights = [*HEAD, *(initializer(name, value, np.int64) for name, value in bounds.items())]
    cut = node("Slice", ["flat"], ["none"], **bounds) if opset < 10 else node("Slice", ["flat", *bounds], ["none"])
    nodes = [scores()[0], cut, node("Concat", ["none", "flat", "none"], ["joined"], axis=1)]
    made = folded(
        make_model(
            [*nodes, node("MatMul", ["joined", "w"], ["scores"])], weights[: 2 if opset < 10 else None], opset=opset
        )
    )
    assert operations(made) == ["Flatten", "Identity", "MatMul"]


@pytest.mark.parametrize("tool", ["onnxsim", "onnxslim"])
def test_what_the_simplifier_computes_decides_an_if(tmp_path: Path, tool: str) -> None:
    condition = [node("ReduceMax", ["one"], ["most"], keepdims=0), node("Cast", ["most"], ["condition"], to=9)]
    exported = make_model([*scores(), *condition, choice("condition", "logits")], HEAD)
    write_export(tmp_path / "export", exported, write_data(tmp_path / "data"))
    Workplace(tmp_path).run(simplify.STAGE, "simplify", tool=tool)
    left = operations(onnx_files.read_model(tmp_path / "simplify" / "model.onnx"))
    assert "If" not in left and left[-1] == "Add"
