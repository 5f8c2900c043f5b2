"""The ONNX project's own node tests of the operators the compiler knows, through generator, zig and wasmtime.

    python -m tests.lib.onnx_c.node_tests [--json]

A test counts as not applicable for the reasons of `inapplicable` only; whatever else the compiler refuses is a failure.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recast.stages.base import StageError
from recast.stages.compilers.onnx_c.compile import Options, Sources, generate
from recast.stages.compilers.onnx_c.graph import C_TYPES
from recast.stages.compilers.onnx_c.kernels.catalog import supported
from tests.lib.onnx_c.modules import load

LISTED = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid",
    "Tanh", "HardSigmoid", "HardSwish", "Gelu", "Erf", "Softmax", "LogSoftmax", "Add", "Sub", "Mul", "Div", "Pow",
    "Sqrt", "Exp", "Log", "Neg", "Abs", "Min", "Max", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool",
    "ReduceMean", "ReduceSum", "ReduceMax", "ArgMax", "Concat", "Split", "Slice", "Pad", "Flatten", "Reshape",
    "Transpose", "Squeeze", "Unsqueeze", "Expand", "Gather", "Where", "Cast", "Resize", "LayerNormalization",
    "QuantizeLinear", "DequantizeLinear", "LSTM", "GRU", "RNN", "InstanceNormalization", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
"""the operators the target promises"""

PARAMETERS = {
    "Reshape": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Expand": (1,), "Slice": (1, 2, 3, 4), "Pad": (1, 3),
    "Split": (1,), "Resize": (1, 2, 3), "Upsample": (1,), "Clip": (1, 2), "Dropout": (1, 2),
    **{f"Reduce{what}": (1,) for what in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum",
                                          "LogSumExp")},
    "CumSum": (1,), "OneHot": (1,), "LSTM": (1, 2, 3, 4), "GRU": (1, 2, 3, 4), "RNN": (1, 2, 3, 4),
}  # fmt: skip
"""operator -> inputs that decide shapes, or that exporters write as constants: given to the compiler as constants"""

UNLIKE_ONNXRUNTIME = (
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
)
"""the output's length before rounding down counts in these tests; see test_node_tests.py"""

_PER_MODULE = 150


@dataclass
class Results:
    """Names of the tests that passed; of those that failed and those not applicable, with the reason."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The keys of benchmarks/wasm.py."""
        return {
            "node_tests_passed": len(self.passed),
            "node_tests_failed": len(self.failed),
            "node_tests_not_applicable": len(self.not_applicable),
        }


def collect() -> list[Any]:
    """The tests of operators the compiler knows, and of those operators expanded into others it knows, by name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, over values the tests choose on purpose
        cases = collect_testcases(None)
    known = {*supported(), "Constant", "Shape"}
    operators = {case.name: {node.op_type for node in case.model.graph.node} for case in cases if case.model}
    # the expansion of an operator that is itself unknown tests data of that operator
    chosen = [
        case
        for case in cases
        if operators.get(case.name, {""}) <= known and operators[case.name.partition("_expanded")[0]] <= known
    ]
    return sorted(chosen, key=lambda case: str(case.name))


def inapplicable(case: Any) -> str:
    """Why a test asks for what the target does not promise; "" if it must pass."""
    import onnx

    graph = case.model.graph
    if case.name in UNLIKE_ONNXRUNTIME:
        return "onnxruntime gives another result, and the target must give onnxruntime's"
    if any(entry.domain not in ("", "ai.onnx") for entry in case.model.opset_import):
        return "another domain than ONNX's own"
    for value in (*graph.input, *graph.output):
        if not value.type.HasField("tensor_type"):
            return "a sequence or an optional value"
        try:
            dtype = str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        except KeyError:
            dtype = "unknown"
        if dtype not in C_TYPES:
            return "a dtype other than float32, bool and integers of 8 to 64 bits"
    arrays = {value.name: array for value, array in zip(graph.input, case.data_sets[0][0], strict=True)}
    for node in graph.node:
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        inputs = dict(enumerate(node.input))
        if attributes.get("training_mode") or (node.op_type == "Dropout" and arrays.get(inputs.get(2, ""), False)):
            return "training"
        if node.op_type in ("Resize", "Upsample") and (
            attributes.get("antialias") or attributes.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
        ):
            return "Resize: antialias or a crop"
        if node.op_type in _GATED and (
            attributes.get("layout")
            or (node.op_type == "LSTM" and len(node.input) > 7 and node.input[7])
            or (inputs.get(4) and len(set(np.ravel(arrays.get(inputs[4], [0])))) > 1)
        ):
            return "LSTM, GRU and RNN: the batch first, peepholes or sequences of different lengths"
        if node.op_type == "Einsum" and b"." in attributes["equation"]:
            return "Einsum: an ellipsis"
        if node.op_type in ("MaxPool", "Dropout") and len(node.output) > 1:
            return "MaxPool's Indices or Dropout's mask as an output"
        if attributes.get("block_size"):
            return "quantization by blocks"
        if node.op_type == "Pow" and any(arrays[name].dtype != np.float32 for name in node.input if name in arrays):
            return "Pow of integers"
        if node.op_type == "Cast" and attributes.get("to") not in _CAST_TARGETS:
            return "a dtype other than float32, bool and integers of 8 to 64 bits"
    return ""


_GATED = ("LSTM", "GRU", "RNN")
_CAST_TARGETS = (1, 2, 3, 4, 5, 6, 7, 9, 12, 13)  # onnx.TensorProto of C_TYPES


def bound(case: Any) -> tuple[Any, list[Any]]:
    """The model with the inputs of `PARAMETERS` as constants, and the values of the other inputs."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    parameters = {
        node.input[index]
        for node in model.graph.node
        for index in PARAMETERS.get(node.op_type, ())
        if index < len(node.input) and node.input[index]
    }
    kept, values = [], []
    for value, array in zip(case.model.graph.input, case.data_sets[0][0], strict=True):
        if value.name in parameters:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), value.name))
            continue
        fixed = onnx.ValueInfoProto()
        fixed.CopyFrom(value)
        del fixed.type.tensor_type.shape.dim[:]
        for n in np.shape(array):
            fixed.type.tensor_type.shape.dim.add().dim_value = n
        fixed.type.tensor_type.shape.SetInParent()
        kept.append(fixed)
        values.append(np.ascontiguousarray(array).reshape(np.shape(array)))
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model, values


def run(cases: list[Any], scratch: Path, simd: bool = True) -> Results:
    """Generate, compile many to a module, run and compare within each test's own tolerance."""
    results = Results()
    ready: list[tuple[Any, Sources, list[Any]]] = []
    for index, case in enumerate(cases):
        reason = inapplicable(case)
        if reason:
            results.not_applicable[case.name] = reason
            continue
        model, values = bound(case)
        try:
            ready.append((case, generate(model, Options(prefix=f"case{index}")), values))
        except StageError as error:
            results.failed[case.name] = error.message
    for number, group in enumerate(_groups(ready)):
        module = load([source for _, source, _ in group], simd, scratch / f"module{number}")
        for case, source, values in group:
            try:
                _compare(case, source, module.run(source, values))
            except AssertionError as error:
                results.failed[case.name] = " ".join(str(error).split())[:300]
            else:
                results.passed.append(case.name)
    return results


def _groups(ready: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(ready), _PER_MODULE):
        yield ready[start : start + _PER_MODULE]


def _compare(case: Any, source: Sources, found: list[Any]) -> None:
    expected = case.data_sets[0][1]
    assert len(expected) == len(found)
    for port, want, have in zip(source.outputs, expected, found, strict=True):
        want = np.asarray(want)
        assert want.shape == have.shape, f"{port.name}: shape {have.shape}, not {want.shape}"
        assert want.dtype == have.dtype, f"{port.name}: {have.dtype}, not {want.dtype}"
        np.testing.assert_allclose(have, want, rtol=case.rtol, atol=case.atol, err_msg=port.name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run ONNX's node tests through the WebAssembly compiler.")
    parser.add_argument("--json", action="store_true", help="print the counts as one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = run(collect(), Path(folder))
    for name, reason in results.failed.items():
        print(f"FAILED {name}: {reason}")
    for reason, count in Counter(results.not_applicable.values()).most_common():
        print(f"{count:5} not applicable: {reason}")
    print(f"{len(results.passed):5} passed, {len(results.failed)} failed")
    if arguments.json:
        print(json.dumps(results.counts))


if __name__ == "__main__":
    main()
