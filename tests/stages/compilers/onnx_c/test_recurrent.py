# environment: wasm
"""LSTM, GRU and RNN in every form that exporters write, against onnxruntime; and what of them is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from recast.stages.compilers.onnx_c.compile import Options, Sources, Unsupported, generate
from tests.lib.onnx_c import sanitized
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_models import initializer

STEPS, BATCH, WIDTH, HIDDEN = 5, 2, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(op: str, states: bool = True, bias: bool = True, inputs: tuple[str, ...] = (), **attributes: Any) -> Any:
    """x (steps, batch, width) -> all outputs of the operator; `inputs` replaces what follows the bias."""
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    random, rows = np.random.default_rng(0), GATES[op] * HIDDEN
    shapes = {"w": (directions, rows, WIDTH), "r": (directions, rows, HIDDEN), "b": (directions, 2 * rows)}
    weights = [initializer(name, random.normal(0, 0.6, shape)) for name, shape in shapes.items()]
    state = onnx.helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, [directions, BATCH, HIDDEN])
    start = ("h", "h") if op == "LSTM" else ("h",)
    given = inputs or (("", *start) if states else ())
    names = ["x", "w", "r", "b" if bias else "", *given]
    made = ["y", "yh", "yc"] if op == "LSTM" else ["y", "yh"]
    node = onnx.helper.make_node(op, names, made, "cell", hidden_size=HIDDEN, **attributes)
    graph = onnx.helper.make_graph(
        [node],
        op,
        [
            onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [STEPS, BATCH, WIDTH]),
            *([state] if "h" in names else []),
        ],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in made],
        [each for each in weights if each.name in names],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


FORMS: dict[str, Any] = {
    **{
        f"{op} {direction}": recurrent(op, direction=direction)
        for op in GATES
        for direction in ("forward", "reverse", "bidirectional")
    },
    **{f"{op} from zeros, without bias": recurrent(op, states=False, bias=False) for op in GATES},
    "GRU that resets late": recurrent("GRU", linear_before_reset=1, direction="bidirectional"),
    "GRU that resets late, without bias": recurrent("GRU", linear_before_reset=1, bias=False),
    "RNN with others": recurrent("RNN", direction="bidirectional", activations=["Relu", "Sigmoid"]),
    "LSTM with others": recurrent("LSTM", activations=["Sigmoid", "Relu", "Sigmoid"]),
}


def check(sources: list[Sources], run: Callable[[list[list[Any]]], list[list[Any]]]) -> None:
    random = np.random.default_rng(1)
    given = [[random.normal(size=port.shape).astype(np.float32) for port in source.inputs] for source in sources]
    for (what, made), source, arrays, found in zip(FORMS.items(), sources, given, run(given), strict=True):
        session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        feeds = {port.name: value for port, value in zip(source.inputs, arrays, strict=True)}
        expected = session.run([port.name for port in source.outputs], feeds)
        for port, one, other in zip(source.outputs, found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=f"{what}: {port.name}")


def compiled() -> list[Sources]:
    return [generate(made, Options(prefix=f"r{index}")) for index, made in enumerate(FORMS.values())]


def test_every_form_gives_onnxruntime_s_outputs(tmp_path: Path) -> None:
    sources = compiled()
    module = load(sources, True, tmp_path)
    check(sources, lambda given: [module.run(source, arrays) for source, arrays in zip(sources, given, strict=True)])


@pytest.mark.slow
def test_none_of_them_leaves_its_arrays(tmp_path: Path) -> None:
    sources = compiled()
    check(sources, lambda given: sanitized.run(sources, given, tmp_path))


REFUSED = {
    "layout 1": recurrent("GRU", states=False, layout=1),
    "sequences of different lengths": recurrent("RNN", inputs=("lengths",)),
    "peepholes": recurrent("LSTM", inputs=("", "", "", "p")),
    "clip": recurrent("LSTM", clip=3.0),
    "activation Softsign": recurrent("RNN", activations=["Softsign"]),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_computed_is_refused_by_name(reason: str) -> None:
    made = onnx.ModelProto()
    made.CopyFrom(REFUSED[reason])
    made.graph.initializer.append(initializer("lengths", [5, 3], np.int32))
    made.graph.initializer.append(initializer("p", np.ones((1, 3 * HIDDEN))))
    with pytest.raises(Unsupported, match=rf"node 'cell' \((LSTM|GRU|RNN), opset 17\): {reason}"):
        generate(made)


def test_weights_that_are_computed_are_refused() -> None:
    made = onnx.ModelProto()
    made.CopyFrom(recurrent("LSTM", states=False))
    moved = next(weight for weight in made.graph.initializer if weight.name == "r")
    made.graph.input.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, list(moved.dims)))
    made.graph.initializer.remove(moved)
    with pytest.raises(Unsupported, match="weights that are not constant"):
        generate(made)


def test_a_projection_is_refused() -> None:
    made = onnx.ModelProto()
    made.CopyFrom(recurrent("LSTM", states=False))
    narrow = next(weight for weight in made.graph.initializer if weight.name == "r")
    narrow.CopyFrom(initializer("r", np.ones((1, 4 * HIDDEN, 2))))
    with pytest.raises(Unsupported, match="recurrent weights of 16 rows for a state of 2: a projection"):
        generate(made)
