# environment: cairo
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.cairo.codegen import input_text, layers, workspace_text
from recast.stages.targets.cairo.ir.fixed_point import Format, parse_format
from recast.stages.targets.cairo.ops.registry import OPERATIONS
from recast.stages.targets.cairo.passes import interpreter, onnx_import, range_analysis
from recast.stages.targets.cairo.run import fast_vm, toolchain
from recast.stages.targets.cairo.syntax.casm import Casm, signed
from recast.stages.targets.cairo.verify import VM
from tests.lib.cairo.op_models import CASES, HIGH, INPUT, LOW, Graph, cases

GROUPS = [list(CASES)[start::3] for start in range(3)]
SAMPLES = 3
MOST_MEMORY = 3 * 2**30


@pytest.fixture(scope="session")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fast_vm.build(VM.path, tmp_path_factory.mktemp("vm"))


def compiled(
    model: Any, fmt: Format, folder: Path, limit: int = 10**7, sample: Sequence[int] = (0,)
) -> tuple[Casm, list[int], Any]:
    """The model's program, its weights in the call data, and the program in integers."""
    program = onnx_import.read(model, fmt)
    bounds = range_analysis.run(program, int(fmt.raw(LOW)), int(fmt.raw(HIGH)))
    emission = layers.write_layers(program, bounds, limit)
    files = {**workspace_text.files(emission), "src/input.cairo": input_text.text(sample)}
    for path, text in files.items():
        (folder / "ws" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "ws" / path).write_text(text)
    return toolchain.compile_workspace(folder / "ws", folder / "build"), emission.call_data(), program


def samples(fmt: Format, seed: int) -> Any:
    """Raw inputs, the range's ends and zeros among them."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(LOW, HIGH, (SAMPLES, INPUT))
    x[0, ::7], x[0, 1::7], x[1, 2::5] = LOW, HIGH, 0
    return fmt.raw(x)


def check(model: Any, fmt: Format, folder: Path, vm: Path, tolerance: float, seed: int) -> None:
    casm, weights, program = compiled(model, fmt, folder)
    x = samples(fmt, seed)
    expected = interpreter.run(program, x)[program.output]
    found = fast_vm.run_each(vm, casm, [[*sample.tolist(), *weights] for sample in x])
    for index, execution in enumerate(found):
        assert [signed(felt) for felt in execution.result] == expected[index].tolist()
    floats = onnx_files.Session(model, threads=1).run(fmt.value(x).astype(np.float32))
    assert np.abs(fmt.value(expected) - floats).max() < tolerance


@pytest.mark.parametrize("names", GROUPS, ids=lambda names: names[0])
def test_every_operation_is_equal_on_the_vm_and_in_the_mirror_and_close_to_float(
    names: list[str], tmp_path: Path, vm: Path
) -> None:
    check(cases(names, 2, seed=1), parse_format("FP16x16"), tmp_path, vm, 3e-3, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tolerance"), [("FP16x16", 3e-3), ("FP8x23", 3e-5), ("FP32x32", 3e-6)])
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: names[0])
def test_fifty_shapes_of_every_operation(
    names: list[str], name: str, tolerance: float, tmp_path: Path, vm: Path
) -> None:
    # two programs of half the size: StarkWare's compiler takes half the time for them
    for part in range(2):
        made = cases(names, 8, seed=10 * len(name) + part)
        check(made, parse_format(name), tmp_path / str(part), vm, tolerance, seed=3)


def test_every_operation_has_a_case() -> None:
    used = {node.op_type for name in CASES for node in cases([name], 4, seed=5).graph.node}
    assert set(OPERATIONS) - used == {"Squeeze", "Unsqueeze", "Identity", "Dropout"}  # as Reshape


def test_weights_in_the_call_data_give_the_same(tmp_path: Path, vm: Path) -> None:
    rng = np.random.default_rng(4)
    graph = Graph()
    graph.end(graph.node("Gemm", ["x", graph.weight(rng.normal(size=(INPUT, 120)))]))
    model, fmt = graph.model(), parse_format("FP16x16")
    literal, none, program = compiled(model, fmt, tmp_path / "literal")
    casm, weights, _ = compiled(model, fmt, tmp_path / "passed", limit=literal.bytecode_felts * 9 // 10)
    assert not none
    assert len(weights) > 97 * 20
    assert casm.bytecode_felts < literal.bytecode_felts * 0.8
    x = samples(fmt, 5)
    expected = interpreter.run(program, x)[program.output]
    for sample, wanted in zip(x, expected, strict=True):
        (execution,) = fast_vm.run_each(vm, casm, [[*sample.tolist(), *weights]])
        assert [signed(felt) for felt in execution.result] == wanted.tolist()
    with pytest.raises(StageError, match="the program panics: too few rows"):
        fast_vm.run_each(vm, casm, [[*x[0].tolist(), *weights[:-1]]])


def test_an_input_of_many_numbers(tmp_path: Path, vm: Path) -> None:
    """What was read first lies further back than the compiler reaches: an image of 32x32 in colour."""
    import onnx

    count = 3 * 32 * 32
    node = onnx.helper.make_node
    bounds = [onnx.numpy_helper.from_array(np.array([value]), name) for name, value in (("a", count - 8), ("b", count))]
    graph = onnx.helper.make_graph(
        [
            node("Slice", ["x", "a", "b", "axis"], ["last"], "slice"),
            node("Relu", ["last"], ["scores"], "relu"),
        ],
        "large",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", count])],
        [onnx.helper.make_tensor_value_info("scores", 1, ["batch", 8])],
        [*bounds, onnx.numpy_helper.from_array(np.array([1]), "axis")],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    fmt = parse_format("FP16x16")
    x = fmt.raw(np.random.default_rng(0).uniform(LOW, HIGH, count))
    casm, _, _ = compiled(made, fmt, tmp_path, sample=x.tolist())
    (execution,) = fast_vm.run_each(vm, casm, [x.tolist()])
    assert [signed(felt) for felt in execution.result] == np.maximum(x[-8:], 0).tolist()


@pytest.mark.parametrize(
    ("shape", "operation"),
    [
        # comparisons of a thousand numbers, which were all live at once
        ((32, 32), "ReduceMax"),
        # rows of the input, and numbers of the output, which one function held
        ((500, 2), "Relu"),
    ],
)
def test_the_compiler_takes_no_more_memory_than_the_program_is_large(
    shape: tuple[int, ...], operation: str, tmp_path: Path, vm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.setattr(toolchain, "machine_memory", lambda: MOST_MEMORY)
    more: dict[str, Any] = {"axes": [2], "keepdims": 0} if operation == "ReduceMax" else {}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operation, ["x"], ["scores"], "node", **more)],
        "large",
        [onnx.helper.make_tensor_value_info("x", 1, ["batch", *shape])],
        [onnx.helper.make_tensor_value_info("scores", 1, None)],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    fmt = parse_format("FP16x16")
    x = fmt.raw(np.random.default_rng(0).uniform(LOW, HIGH, shape))
    casm, _, program = compiled(made, fmt, tmp_path)
    (execution,) = fast_vm.run_each(vm, casm, [x.ravel().tolist()])
    expected = interpreter.run(program, x[None])[program.output].ravel()
    assert len(expected) > 30 and [signed(felt) for felt in execution.result] == expected.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:-1], "input too short"),
        (lambda x: [*x, 0], "input too long"),
        (lambda x: [2 * 65536 + 1, *x[1:]], "input above its range"),
        (lambda x: [-2 * 65536 - 1, *x[1:]], "input below its range"),
        (lambda x: [2**200, *x[1:]], "input below its range|input above its range"),
    ],
)
def test_the_program_panics_on_input_that_the_proof_does_not_cover(
    change: Any, message: str, small: Casm, vm: Path
) -> None:
    with pytest.raises(StageError, match=f"the program panics: ({message})"):
        fast_vm.run_each(vm, small, [change([0] * INPUT)])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Casm:
    return compiled(cases(["Softmax"], 1, seed=1), parse_format("FP16x16"), tmp_path_factory.mktemp("small"))[0]
