"""Why Akida has no counterpart for a layer, in words of the user's own graph, and what it has in its place.

quantizeml and cnn2snn refuse a model in words of the graph they have rewritten it to, and name but one fault. So once
they have refused, the graph as it was is looked at: what each layer asks for, against what they take (quantizeml 1.2.5,
cnn2snn 2.19.3). What they take is never refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stages import onnx_files
from stages.base import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ACTIVATIONS = ("Relu", "Clip")
"""what may stand between a convolution and its pool"""
TAKEN = (
    *("Gemm", "MatMul", "Relu", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Gelu", "Swish"),
    *("Add", "Sub", "Concat", "Min", "Max"),
    *("Constant", "Identity", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
)
"""operations that are taken, or whose refusal is not told apart here"""
FOLDED = ("Mul", "Div", "Erf")
"""operations that are taken as parts of activations and as constant scales, and refused otherwise"""
EVEN_KERNELS, FIRST_KERNELS = ((3, 3),), ((3, 3), (5, 5), (7, 7))
"""kernels that may be padded alike on all sides with stride 2: of any layer, and of the first"""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a layer, and what to do."""

    why: str
    change: str


@dataclass
class Graph:
    """The user's graph: who makes and who reads each tensor, its shape for one sample, and what layers are called."""

    model: onnx_files.Model
    names: Mapping[str, str]
    """tensor -> layer of PyTorch's"""
    makers: dict[str, Any] = field(default_factory=dict)
    readers: dict[str, list[Any]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the model's graph."""
        import onnx

        self.weights = {one.name: onnx.numpy_helper.to_array(one) for one in self.model.graph.initializer}
        for node in self.model.graph.node:
            self.makers.update(dict.fromkeys(node.output, node))
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        graph = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = tuple(axis.dim_value for axis in dims)

    def called(self, node: Any) -> str:
        """The layer as its author calls it, else the tensor it gives, and its operation."""
        weights = [name.removesuffix(".weight") for name in node.input if name.endswith(".weight")]
        name = weights[0] if len(weights) == 1 else self.names.get(node.output[0], "")
        return f"layer '{name}' ({node.op_type})" if name else f"{node.op_type} '{node.name or node.output[0]}'"

    def before(self, node: Any) -> Any:
        """The node that makes what this one reads; None at the model's input."""
        return self.makers.get(node.input[0])

    def numbers(self, node: Any, name: str, default: int, count: int = 2) -> tuple[int, ...]:
        """An attribute of whole numbers."""
        found = next((tuple(one.ints) for one in node.attribute if one.name == name), None)
        return found or (default,) * count

    def is_first(self, node: Any) -> bool:
        """Whether it is the model's first convolution."""
        return next((one for one in self.model.graph.node if one.op_type == "Conv"), None) is node


def explained(
    error: StageError, model: onnx_files.Model, shape: tuple[int, ...], names: Mapping[str, str]
) -> StageError:
    """The refusal of a model for samples of `shape`, said of its own layers; as it was if no fault is known of them."""
    found = list(faults(_sized(model, shape), names))
    if not found:
        return error
    phrases = dict.fromkeys(f"{layer}: it {fault.why}" for layer, fault in found)
    changes = dict.fromkeys(fault.change for _, fault in found)
    return StageError(f"Akida cannot run {'; '.join(phrases)}", "; ".join(changes))


def faults(model: onnx_files.Model, names: Mapping[str, str]) -> Iterator[tuple[str, Fault]]:
    """(layer, fault) in running order."""
    graph = Graph(model, names)
    found = [(node, _fault(graph, node)) for node in graph.model.graph.node]
    if not any(fault for _, fault in found):
        # only then: activations that are taken are made of them
        found = [(node, _unfolded(graph, node)) for node in graph.model.graph.node]
    for node, fault in found:
        if fault is not None:
            yield graph.called(node), fault


def _sized(model: onnx_files.Model, shape: tuple[int, ...]) -> onnx_files.Model:
    """A copy for one sample of that shape, so that all others follow."""
    copy = type(model)()
    copy.CopyFrom(model)
    name = onnx_files.only_input(copy, "the simplified model").name
    value = next(value for value in copy.graph.input if value.name == name)
    for axis, length in zip(value.type.tensor_type.shape.dim, (1, *shape), strict=False):
        axis.dim_value = length
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    return copy


def _fault(graph: Graph, node: Any) -> Fault | None:
    checks = {
        "Conv": _convolution,
        "ConvTranspose": _transposed,
        "MaxPool": _max_pool,
        "Clip": _clip,
        "Pad": _pad,
        "BatchNormalization": _batch_norm,
        "GlobalAveragePool": _global_pool,
        "AveragePool": _average_pool,
        "ReduceMean": _mean,
        "Resize": _resize,
        "Sigmoid": _sigmoid,
    }
    if node.op_type in checks:
        return checks[node.op_type](graph, node)
    if not any(name in graph.makers or name in graph.shapes for name in node.input):
        return None  # computed of weights alone
    if node.op_type in ("Softmax", "LogSoftmax"):
        return Fault("gives probabilities, and a model for Akida ends at its scores", "return the scores as they are")
    return None if node.op_type in (*TAKEN, *FOLDED) else _unknown(node)


def _unknown(node: Any) -> Fault:
    return Fault("is an operation that Akida does not have", f"use another operation than {node.op_type}")


def _sigmoid(graph: Graph, node: Any) -> Fault | None:
    """What is multiplied by its own sigmoid is SiLU, which is taken."""
    reader = _next(graph, node, ())
    return None if reader is not None and reader.op_type == "Mul" and node.input[0] in reader.input else _unknown(node)


def _unfolded(graph: Graph, node: Any) -> Fault | None:
    if node.op_type == "Erf":
        why = "is part of a GELU written out, and Akida's tools know GELU as one operation"
        return Fault(why, "export at opset 20 or later, where GELU is one")
    if node.op_type != "Mul" or any(name in graph.weights for name in node.input):
        return None
    makers = [graph.makers.get(name) for name in node.input]
    gates = [one for one in makers if one is not None and one.op_type in ("Sigmoid", "HardSigmoid")]
    if any(one.input[0] in node.input for one in gates) or any(one.op_type == "Erf" for one in graph.model.graph.node):
        return None
    return _product()


def _product() -> Fault:
    return Fault("multiplies what it computes, and Akida multiplies by weights only", "use Add or Concat in its place")


def _convolution(graph: Graph, node: Any) -> Fault | None:
    weight = graph.weights.get(node.input[1])
    if weight is None:
        return Fault("has a kernel that is computed", "give it a constant kernel")
    kernel = weight.shape[2:]
    if len(kernel) != 2:
        return Fault(f"convolves over {len(kernel)} axes, and Akida over two", "use Conv2d on samples (C, H, W)")
    strides, first = graph.numbers(node, "strides", 1), graph.is_first(node)
    if kernel[0] != kernel[1]:
        return Fault(f"has a kernel of {_by(kernel)}, and Akida's are square", "make the kernel square")
    if strides[0] != strides[1]:
        return Fault(f"has strides of {_by(strides)}, and Akida's are equal", "make both strides equal")
    if max(graph.numbers(node, "dilations", 1)) > 1:
        return Fault("is dilated, and Akida's convolutions are not", "drop the dilation, or use a larger kernel")
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    if groups != 1 and (weight.shape[1] != 1 or weight.shape[0] != groups):
        why = f"has {groups} groups, and Akida's convolutions have 1, or one for each channel"
        return Fault(why, "use groups=1, or groups equal to the channels on both sides")
    if not first and kernel[0] % 2 == 0:
        why = f"has a kernel of {_by(kernel)}, and those of Akida have an odd size behind the first layer"
        return Fault(why, "use a kernel of 1, 3, 5 or 7")
    if not first and strides[0] > 2:
        return Fault(f"has a stride of {strides[0]}, and Akida's are 1 and 2", "use a stride of 1 or 2")
    if groups != 1 and strides != (1, 1):
        return None  # it is split into a step of stride 1 and one without weights
    if not first and strides[0] == 2 and kernel[0] > 3:
        why = f"has a kernel of {_by(kernel)} with stride 2, and those of Akida are 1x1 and 3x3 behind the first layer"
        return Fault(why, "use a kernel of 3 with stride 2, or stride 1")
    return _padding(graph, node, kernel, strides, first)


def _padding(graph: Graph, node: Any, kernel: tuple[int, ...], strides: tuple[int, ...], first: bool) -> Fault | None:
    given = graph.numbers(node, "pads", 0, 4)
    source = node.input[0]
    pad = graph.makers.get(source)
    if pad is not None and pad.op_type == "Pad" and len(pad.input) > 1 and pad.input[1] in graph.weights:
        amounts = [int(one) for one in graph.weights[pad.input[1]]]
        if len(amounts) == 8:
            given = tuple(a + b for a, b in zip(given, (*amounts[2:4], *amounts[6:8]), strict=True))
            source = pad.input[0]
    size = graph.shapes.get(source, ())[2:]
    if len(size) != 2 or not all(size):
        return None
    none, ending, starting, even = _allowed(size, kernel, strides)
    pads = f"pads by {given} (top, left, bottom, right) for a kernel of {_by(kernel)} with stride {strides[0]}"
    if given == ending or (given == none and given not in (starting, even)):
        return None
    if given not in (starting, even):
        *most, last = dict.fromkeys((none, ending, starting, even))
        taken = f"{', '.join(map(str, most))} or {last}" if most else str(last)
        return Fault(f"{pads}, where Akida pads by {taken}", _pad_by(ending))
    kernels = FIRST_KERNELS if first else EVEN_KERNELS
    if strides != (2, 2) or kernel not in kernels:
        why = f"{pads}, and Akida pads so only kernels of {' and '.join(_by(one) for one in kernels)} with stride 2"
        return Fault(why, _pad_by(ending))
    pool = _next(graph, node, (*ACTIVATIONS, "BatchNormalization"))
    if pool is not None and pool.op_type == "MaxPool":
        return Fault(f"{pads}, and no MaxPool can follow that on Akida", _pad_by(ending))
    return None


def _pad_by(sides: tuple[int, ...]) -> str:
    top, left, bottom, right = sides
    return f"pad by nn.ZeroPad2d(({left}, {right}, {top}, {bottom})) in front, with padding=0"


def _transposed(graph: Graph, node: Any) -> Fault | None:
    if any(graph.numbers(node, "output_padding", 0)):
        return Fault(
            "has an output_padding, and Akida has none", "use nn.ConvTranspose2d without it, as with a kernel of 2"
        )
    return None


def _max_pool(graph: Graph, node: Any) -> Fault | None:
    kernel, strides = graph.numbers(node, "kernel_shape", 1), graph.numbers(node, "strides", 1)
    if len(kernel) != 2 or kernel[0] != kernel[1] or strides[0] != strides[1]:
        why = f"pools {_by(kernel)} with strides of {_by(strides)}, and Akida's pools are square"
        return Fault(why, "make kernel and stride of the pool square")
    if max(graph.numbers(node, "dilations", 1)) > 1:
        return Fault("is dilated, and Akida's pools are not", "drop the dilation")
    if next((one.i for one in node.attribute if one.name == "ceil_mode"), 0):
        return Fault("rounds its size up, and Akida's pools do not", "set ceil_mode to False, and pad where need be")
    place = _behind_convolution(graph, node)
    if place is not None:
        return place
    convolution = next((one for one in _upwards(graph, node) if one.op_type == "Conv"), None)
    if convolution is not None and _is_spatial(graph, convolution) and not _is_padded(graph, convolution):
        why = (
            f"pools what an unpadded convolution gives, {graph.called(convolution)}, and Akida pools behind padded ones"
        )
        return Fault(why, "give that convolution padding=(kernel_size - 1) // 2")
    size = graph.shapes.get(node.input[0], ())[2:]
    given = graph.numbers(node, "pads", 0, 4)
    if len(size) == 2 and all(size):
        _, ending, _, _ = _allowed(size, kernel, strides)
        if given != ending:
            why = (
                f"pads by {given} (top, left, bottom, right) to pool {_by(size)} by {_by(kernel)} with stride "
                f"{strides[0]}, where Akida pads by {ending}"
            )
            return Fault(why, "use MaxPool2d(2) on an even size, which needs no padding")
    return None


def _upwards(graph: Graph, node: Any) -> Iterator[Any]:
    """The nodes before it, from the nearest on, along their first inputs."""
    while (node := graph.before(node)) is not None:
        yield node


def _is_spatial(graph: Graph, convolution: Any) -> bool:
    """Whether its kernel reaches beyond one pixel; one that is no constant is taken for such."""
    kernel = graph.weights.get(convolution.input[1])
    return kernel is None or kernel.shape[2:] != (1, 1)


def _is_padded(graph: Graph, convolution: Any) -> bool:
    before = graph.before(convolution)
    return any(graph.numbers(convolution, "pads", 0, 4)) or (before is not None and before.op_type == "Pad")


def _behind_convolution(graph: Graph, node: Any) -> Fault | None:
    """A pool is part of the convolution before it: alone with it, and at most a ReLU between."""
    before = graph.before(node)
    if before is not None and before.op_type in ACTIVATIONS:
        if len(graph.readers[before.output[0]]) > 1:
            return _shared(graph, before)
        before = graph.before(before)
    if before is not None and before.op_type == "BatchNormalization":
        before = graph.before(before)
    if before is not None and before.op_type != "Conv" and _fault(graph, before) is not None:
        return None  # which is the fault
    if before is None or before.op_type != "Conv":
        what = "the model's input" if before is None else graph.called(before)
        why = f"stands behind {what}, and Akida pools only what a convolution gives, with at most a ReLU between"
        return Fault(why, "put a convolution in front of the pool")
    if len(graph.readers[before.output[0]]) > 1:
        return _shared(graph, before)
    return None


def _shared(graph: Graph, before: Any) -> Fault:
    why = f"pools what other layers read as well, from {graph.called(before)}, and on Akida it is part of that layer"
    return Fault(why, "give the pool a convolution of its own")


def _global_pool(graph: Graph, node: Any) -> Fault | None:
    ends = node.output[0]
    while len(graph.readers.get(ends, [])) == 1 and graph.readers[ends][0].op_type in ("Flatten", "Reshape", "Squeeze"):
        ends = graph.readers[ends][0].output[0]
    if ends == graph.model.graph.output[0].name:
        why = "averages at the model's end, and Akida ends with a dense layer or a convolution"
        return Fault(why, "average first, and make the scores of that by nn.Linear")
    return _behind_convolution(graph, node)


def _mean(graph: Graph, node: Any) -> Fault | None:
    axes = graph.weights.get(node.input[1], ()) if len(node.input) > 1 else graph.numbers(node, "axes", 0, 0)
    rank = len(graph.shapes.get(node.input[0], ()))
    if sorted(int(axis) % max(rank, 1) for axis in axes) != [2, 3]:
        return Fault("averages along other axes than height and width", "average along axes 2 and 3, or not at all")
    return _global_pool(graph, node)


def _average_pool(graph: Graph, node: Any) -> Fault | None:
    size, kernel = graph.shapes.get(node.input[0], ())[2:], graph.numbers(node, "kernel_shape", 1)
    if size == kernel:
        return _global_pool(graph, node)
    return Fault(
        f"averages {_by(kernel)}, and Akida averages whole images only", "use nn.AdaptiveAvgPool2d(1), or MaxPool2d(2)"
    )


def _resize(graph: Graph, node: Any) -> Fault | None:
    mode = next((bytes(one.s).decode() for one in node.attribute if one.name == "mode"), "nearest")
    if mode == "nearest":
        return None
    return Fault(f"resizes by {mode} interpolation, and Akida by repetition", "use nn.Upsample(mode='nearest')")


def _clip(graph: Graph, node: Any) -> Fault | None:
    low = graph.weights.get(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if low is not None and float(low) == 0.0:
        return None
    return Fault(
        f"clips from {'minus infinity' if low is None else format(float(low), 'g')}, and Akida from 0",
        "use nn.ReLU or nn.ReLU6",
    )


def _pad(graph: Graph, node: Any) -> Fault | None:
    mode = next((bytes(one.s).decode() for one in node.attribute if one.name == "mode"), "constant")
    if mode != "constant":
        return Fault(f"pads by {mode}, and Akida with zeros", "use padding_mode='zeros', which is the default")
    follower = _next(graph, node, ())
    if follower is None or follower.op_type not in ("Conv", "MaxPool"):
        return Fault(
            "pads what no convolution reads, and on Akida padding is part of one", "pad in front of a convolution"
        )
    return None


def _batch_norm(graph: Graph, node: Any) -> Fault | None:
    before = graph.before(node)
    if before is not None and before.op_type in ("Conv", "Gemm", "ConvTranspose", "MatMul", "MaxPool"):
        return None
    what = "the model's input" if before is None else graph.called(before)
    why = f"normalises behind {what}, and on Akida that is part of the convolution or dense layer just before it"
    return Fault(why, "put the BatchNorm right behind a convolution or dense layer, before the activation")


def _next(graph: Graph, node: Any, over: tuple[str, ...]) -> Any:
    """The only reader of what the node gives, those of some operations passed over; None if there are others."""
    while True:
        readers = graph.readers.get(node.output[0], [])
        if len(readers) != 1:
            return None
        node = readers[0]
        if node.op_type not in over:
            return node


def _allowed(
    size: tuple[int, ...], kernel: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(top, left, bottom, right) without padding, and with the smallest one that makes ceil(size / stride) outputs:
    the larger half at the end, at the start, and on both sides (ONNX's SAME_UPPER and SAME_LOWER, and PyTorch's)."""
    along = [max(k - (s if n % s == 0 else n % s), 0) for n, k, s in zip(size, kernel, strides, strict=True)]
    small, large = tuple(one // 2 for one in along), tuple(one - one // 2 for one in along)
    return (0, 0, 0, 0), (*small, *large), (*large, *small), (*large, *large)


def _by(lengths: tuple[int, ...]) -> str:
    return "x".join(map(str, lengths))
