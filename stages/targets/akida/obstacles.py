"""Why Akida has no counterpart for a layer, in words of the user's own graph, and what it has in its place.

quantizeml and cnn2snn refuse a model in words of the graph they have rewritten it to, and name but one fault. So once
they have refused, the graph as it was is looked at: what each layer asks for, against what they take (quantizeml 1.2.5,
cnn2snn 2.19.3). What they take is never refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import transposed
from recast.stages.targets.akida.graph import Fault, Graph, by, next_reader, sized
from recast.stages.targets.akida.layout import Layout
from recast.stages.targets.akida.signal_nodes import can_be_lifted, is_of_signals, touches
from recast.stages.targets.akida.windows import ACTIVATIONS, allowed, convolution_fault, groups_of

TAKEN = (
    *("Gemm", "MatMul", "Relu", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Gelu", "Swish"),
    *("Add", "Sub", "Concat", "Min", "Max"),
    *("Constant", "Identity", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
)
"""operations that are taken, or whose refusal is not told apart here"""
FOLDED = ("Mul", "Div", "Erf")
"""operations that are taken as parts of activations and as constant scales, and refused otherwise"""


def explained(error: StageError, model: onnx_files.Model, layout: Layout, names: Mapping[str, str]) -> StageError:
    """The refusal of a lowered model, said of its own layers; as it was if no fault is known of them."""
    found = list(faults(sized(model, layout.takes), names, layout.signals))
    if not found:
        return error
    phrases = dict.fromkeys(f"{layer}: it {one.why}" for layer, one in found)
    changes = dict.fromkeys(one.change for _, one in found)
    return StageError(f"Akida cannot run {'; '.join(phrases)}", "; ".join(changes))


def faults(model: onnx_files.Model, names: Mapping[str, str], signals: bool = False) -> Iterator[tuple[str, Fault]]:
    """(layer, fault) in running order."""
    graph = Graph(model, names, signals=signals)
    for node, one in faulty(graph):
        yield graph.called(node), one


def faulty(graph: Graph) -> Iterator[tuple[Any, Fault]]:
    """(node, fault) in running order."""
    found = _found(graph)
    if not any(one for _, one in found):
        # only then: activations that are taken are made of them
        found = [(node, _unfolded(graph, node)) for node in graph.model.graph.node]
    for node, one in found:
        if one is not None:
            yield node, one


def _found(graph: Graph) -> list[tuple[Any, Fault | None]]:
    """Each node with what is wrong with it; of a model of signals only what keeps them from being maps of height 1."""
    found = [(node, fault(graph, node)) for node in graph.model.graph.node]
    if not is_of_signals(graph) or all(can_be_lifted(graph, node) for node, _ in found):
        return found
    return [
        (node, one if one or can_be_lifted(graph, node) else _SIGNAL)
        for node, one in found
        # what it says of a window over one axis is true, and not why
        if not (node.op_type in ("Conv", "MaxPool", "AveragePool", "ReduceMean") and can_be_lifted(graph, node))
        or not touches(graph, node)
    ]


_SIGNAL = Fault(
    "means something else on signals (N, C, T) than on maps of height 1, as which Akida takes them",
    "use convolutions, pools and activations between the layers of a signal, and Flatten or a mean behind them",
)


def fault(graph: Graph, node: Any) -> Fault | None:
    """What is wrong with the layer of a node; None if Akida takes it."""
    checks = {
        "Conv": convolution_fault,
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
    reader = next_reader(graph, node, ())
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


def _transposed(graph: Graph, node: Any) -> Fault | None:
    found = transposed.look(graph, node)
    return found if isinstance(found, Fault) else None


def _max_pool(graph: Graph, node: Any) -> Fault | None:
    kernel, strides = graph.numbers(node, "kernel_shape", 1), graph.numbers(node, "strides", 1)
    if len(kernel) != 2 or kernel[0] != kernel[1] or strides[0] != strides[1]:
        why = f"pools {by(kernel)} with strides of {by(strides)}, and Akida's pools are square"
        return Fault(why, "make kernel and stride of the pool square")
    if max(graph.numbers(node, "dilations", 1)) > 1:
        return Fault("is dilated, and Akida's pools are not", "drop the dilation")
    if next((one.i for one in node.attribute if one.name == "ceil_mode"), 0):
        return Fault("rounds its size up, and Akida's pools do not", "set ceil_mode to False, and pad where need be")
    place = place_fault(graph, node)
    if place is not None:
        return place
    size = graph.shapes.get(node.input[0], ())[2:]
    given = graph.numbers(node, "pads", 0, 4)
    if len(size) == 2 and all(size):
        _, ending, _, _ = allowed(size, kernel, strides)
        if given != ending:
            why = (
                f"pads by {given} (top, left, bottom, right) to pool {by(size)} by {by(kernel)} with stride "
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


def place_fault(graph: Graph, node: Any) -> Fault | None:
    """Why a pool cannot stand where it stands, whatever it pools."""
    place = _behind_convolution(graph, node)
    convolution = next((one for one in _upwards(graph, node) if one.op_type == "Conv"), None)
    if place is not None or convolution is None:
        return place
    if node.op_type != "MaxPool":
        if groups_of(convolution) == 1:
            return None
        why = f"averages what {graph.called(convolution)} gives, which convolves each channel by itself"
        return Fault(why, "put a convolution of 1x1 between")
    if _is_spatial(graph, convolution) and not _is_padded(graph, convolution):
        why = (
            f"pools what an unpadded convolution gives, {graph.called(convolution)}, and Akida pools behind padded ones"
        )
        return Fault(why, "give that convolution padding=(kernel_size - 1) // 2")
    return None


def _behind_convolution(graph: Graph, node: Any) -> Fault | None:
    """A pool is part of the convolution before it: alone with it, and at most a ReLU between."""
    before = graph.before(node)
    if before is not None and before.op_type in ACTIVATIONS:
        if len(graph.readers[before.output[0]]) > 1:
            return _shared(graph, before)
        before = graph.before(before)
    if before is not None and before.op_type == "BatchNormalization":
        before = graph.before(before)
    if before is not None and before.op_type != "Conv" and fault(graph, before) is not None:
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


def reduced_axes(graph: Graph, node: Any) -> list[int]:
    """The axes that a ReduceMean averages along, from 0, in order."""
    axes = graph.weights.get(node.input[1], ()) if len(node.input) > 1 else graph.numbers(node, "axes", 0, 0)
    rank = len(graph.shapes.get(node.input[0], ()))
    return sorted(int(axis) % max(rank, 1) for axis in axes)


def averages_all(graph: Graph, node: Any) -> bool:
    """Whether a pool, or a ReduceMean, averages the whole map."""
    if node.op_type == "AveragePool":
        return graph.shapes.get(node.input[0], ())[2:] == graph.numbers(node, "kernel_shape", 1)
    return node.op_type == "GlobalAveragePool" or reduced_axes(graph, node) == [2, 3]


def _mean(graph: Graph, node: Any) -> Fault | None:
    if reduced_axes(graph, node) != [2, 3]:
        return Fault("averages along other axes than height and width", "average along axes 2 and 3, or not at all")
    return _global_pool(graph, node)


def _average_pool(graph: Graph, node: Any) -> Fault | None:
    size, kernel = graph.shapes.get(node.input[0], ())[2:], graph.numbers(node, "kernel_shape", 1)
    if size == kernel:
        return _global_pool(graph, node)
    return Fault(
        f"averages {by(kernel)}, and Akida averages whole images only", "use nn.AdaptiveAvgPool2d(1), or MaxPool2d(2)"
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
    follower = next_reader(graph, node, ())
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
