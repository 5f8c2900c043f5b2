"""From a ModelProto to the IR: the batch fixed, every shape known, what depends on constants only computed.

Operators of ONNX's own domain, whose shapes follow from those of the inputs and from constants.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_shapes
from recast.stages.common.onnx_models.onnx_files import Model, first_line
from recast.stages.compilers.onnx_c.evaluate import evaluate
from recast.stages.compilers.onnx_c.graph import C_TYPES, Graph, Node, Tensor
from recast.stages.compilers.onnx_c.options import Options, Unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = ("DequantizeLinear",)
"""not computed here though its input is constant: `passes.int8` looks for it"""
_SHAPE_DATA = 4096  # constants up to so many elements are shown to shape inference; none of its rules reads more


def read(model: Model, options: Options) -> Graph:
    """The model as IR; Unsupported names every node, input or dtype that has no place in it."""
    return _Reader(model, options).read()


class _Reader:
    def __init__(self, model: Model, options: Options) -> None:
        self.graph_proto = model.graph
        self.ir_version = model.ir_version
        self.imports = list(model.opset_import)
        self.opset = next((entry.version for entry in self.imports if entry.domain in ("", "ai.onnx")), 0)
        self.options = options
        self.graph = Graph({}, [], [], [])
        self.problems: list[str] = []

    def read(self) -> Graph:
        import onnx

        if self.graph_proto.sparse_initializer:
            self.problems.append("sparse initializers")
        for initializer in self.graph_proto.initializer:
            self._constant(initializer.name, onnx.numpy_helper.to_array(initializer))
        for value in self.graph_proto.input:
            if value.name not in self.graph.tensors:
                self._input(value)
        for index, proto in enumerate(self.graph_proto.node):
            self._node(proto, index)
        self.graph.outputs = [value.name for value in self.graph_proto.output]
        if not self.problems:
            for name in (name for name in self.graph.outputs if name not in self.graph.tensors):
                self.problems.append(f"the output {name!r}, which no node writes")
        if self.problems:
            raise Unsupported(self.problems)
        return self.graph

    def _constant(self, name: str, value: NDArray[Any]) -> None:
        self.graph.tensors[name] = Tensor(name, tuple(value.shape), str(value.dtype), value)

    def _input(self, value: Any) -> None:
        shape: list[int] = []
        axes = value.type.tensor_type.shape.dim
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            self.problems.append(f"the input {value.name!r}, which is no tensor of known rank")
            return
        for index, axis in enumerate(axes):
            if axis.HasField("dim_value"):
                shape.append(axis.dim_value)
            elif index == 0:
                shape.append(self.options.batch)
            else:
                self.problems.append(f"the input {value.name!r}, whose axis {index} has no fixed length")
                return
        dtype = _dtype(value.type)
        if dtype not in C_TYPES:
            self.problems.append(f"the input {value.name!r} of type {dtype} (supported: {', '.join(C_TYPES)})")
            return
        self.graph.tensors[value.name] = Tensor(value.name, tuple(shape), dtype)
        self.graph.inputs.append(value.name)

    def _node(self, proto: Any, index: int) -> None:

        where = f"node {proto.name or proto.output[0]!r} ({proto.op_type}, opset {self.opset})"
        if any(name and name not in self.graph.tensors for name in proto.input):
            if not self.problems:
                self.problems.append(f"{where}: an input that nothing before it writes")
            return  # what it reads was refused; one message is enough
        if proto.domain not in ("", "ai.onnx"):
            self.problems.append(f"{where}: the domain {proto.domain}")
            return
        if any(attribute.type in _SUBGRAPHS for attribute in proto.attribute):
            self.problems.append(f"{where}: a subgraph")
            return
        constants = {name: self.graph.tensors[name].value for name in proto.input if name}
        if proto.op_type == "Shape":
            lengths = self.graph.tensors[proto.input[0]].shape
            self._evaluate(proto, where, {proto.input[0]: _zeros(lengths)})
            return
        if all(value is not None for value in constants.values()) and proto.op_type not in KEPT:
            self._evaluate(proto, where, constants)
            return
        try:
            types = self._output_types(proto)
        except Exception as error:  # shape inference raises its own types and plain ones
            self.problems.append(f"{where}: {first_line(error)}")
            return
        attributes = {entry.name: _attribute(entry) for entry in proto.attribute}
        for name in (name for name in proto.output if name):
            tensor = _static(name, types.get(name))
            if tensor is None and proto.op_type in _UNINFERRED:
                tensor = replace(self.graph.tensors[proto.input[0]], name=name, value=None)
            if tensor is not None:
                tensor.shape = self._as_run(proto, attributes, tensor.shape)
            if tensor is None:
                self.problems.append(f"{where}: the shape of its output {name!r} is not known before it runs")
                return
            if tensor.dtype not in C_TYPES:
                self.problems.append(f"{where}: its output's type {tensor.dtype} (supported: {', '.join(C_TYPES)})")
            self.graph.tensors[name] = tensor
        name = proto.name or f"{proto.op_type}_{index}"
        outputs = list(proto.output)
        while outputs and not outputs[-1]:
            outputs.pop()
        inputs = list(proto.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        self.graph.nodes.append(Node(name, proto.op_type, inputs, outputs, attributes, self.opset))

    def _evaluate(self, proto: Any, where: str, values: dict[str, Any]) -> None:
        try:
            computed = evaluate(proto, values, self.imports, self.ir_version)
        except Exception as error:  # onnx.reference raises whatever NumPy does
            self.problems.append(f"{where}: cannot be computed from constants: {first_line(error)}")
            return
        for name, value in zip(proto.output, computed, strict=False):
            if name:
                self._constant(name, value)

    def _output_types(self, proto: Any) -> dict[str, Any]:
        import onnx

        schema = onnx.defs.get_schema(proto.op_type, self.opset, "")
        types, data = {}, {}
        for name in (name for name in proto.input if name):
            tensor = self.graph.tensors[name]
            element = onnx.helper.np_dtype_to_tensor_dtype(_numpy_dtype(tensor.dtype))
            types[name] = onnx.helper.make_tensor_type_proto(element, tensor.shape)
            if tensor.value is not None and tensor.size <= _SHAPE_DATA:
                data[name] = onnx.numpy_helper.from_array(tensor.value, name)
        found: dict[str, Any] = onnx.shape_inference.infer_node_outputs(
            schema, proto, types, data, opset_imports=self.imports, ir_version=self.ir_version
        )
        return found

    def _as_run(self, proto: Any, attributes: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the node's output as onnxruntime computes it, given that of ONNX's inference."""
        given = self.graph.tensors[proto.input[0]].shape if proto.input else ()
        spatial = range(len(given) - 2)
        if proto.op_type in onnx_shapes.POOLS:
            return (*shape[:2], *(onnx_shapes.pool_axis(attributes, axis, given[2 + axis])[1] for axis in spatial))
        same = str(attributes.get("auto_pad", "")).startswith("SAME")
        if proto.op_type == "ConvTranspose" and same and "output_shape" not in attributes:
            kernel = self.graph.tensors[proto.input[1]].shape[2:]
            axes = (onnx_shapes.transposed_axis(attributes, axis, given[2 + axis], kernel[axis]) for axis in spatial)
            return (*shape[:2], *(length for _, length in axes))
        if proto.op_type in ("Resize", "Upsample"):
            index = 1 if proto.op_type == "Upsample" or self.opset < 11 else 2
            scales = self.graph.constant(proto.input[index]) if len(proto.input) == index + 1 else None
            if scales is not None and scales.size:
                return onnx_shapes.resized(given, scales.tolist(), attributes.get("axes", range(len(given))))
        return shape


_UNINFERRED = ("GroupNormalization",)
"""operators whose output is as their input, and of which ONNX's inference says nothing"""
_SUBGRAPHS = (5, 10)  # AttributeProto.GRAPH, GRAPHS


def _zeros(shape: tuple[int, ...]) -> NDArray[Any]:
    """Zeros of any shape that take no memory."""
    import numpy as np

    return np.broadcast_to(np.float32(0), shape)


def _attribute(entry: Any) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(entry)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(entry, onnx.AttributeProto) and entry.type in _LISTS:
        return [one.decode() if isinstance(one, bytes) else one for one in value]
    return value


_LISTS = (6, 7, 8)  # AttributeProto.FLOATS, INTS, STRINGS


def _numpy_dtype(name: str) -> Any:
    import numpy as np

    return np.dtype(name)


def _dtype(type_proto: Any) -> str:
    """NumPy's name of a tensor type's elements; ONNX's name where NumPy has none."""
    import onnx

    element = type_proto.tensor_type.elem_type
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError:
        return str(onnx.TensorProto.DataType.Name(element))


def _static(name: str, type_proto: Any) -> Tensor | None:
    """The tensor of an inferred type; None if its shape is not fully known."""
    if type_proto is None or not type_proto.HasField("tensor_type") or not type_proto.tensor_type.HasField("shape"):
        return None
    axes = type_proto.tensor_type.shape.dim
    if not all(axis.HasField("dim_value") for axis in axes):
        return None
    return Tensor(name, tuple(axis.dim_value for axis in axes), _dtype(type_proto))
