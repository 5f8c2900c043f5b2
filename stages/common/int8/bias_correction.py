"""Bias correction: what rounding takes from the mean of a layer's outputs is put into its bias.

A rounded layer is wrong by another amount for each sample, and by some amount on average. The latter is known from the
calibration samples. As a layer without its bias is linear, the mean of its outputs is its output for the mean of its
inputs: with W and x in float, x within its range, and W', x' as integers hold them, the bias grows by
W·E[x] - W'·E[x'], a mean over samples, and over places where a layer has several. See Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction" (2019), section 4.2; there inputs are told from
BatchNorms, here they are measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.common.int8 import activation_ranges
from recast.stages.common.int8.int8_pairs import Pairs, Rounding
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.common.samples import Taken
from recast.stages.common.vendor_errors import foreign

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = ("Conv", "ConvTranspose", "Gemm")
"""layers with a bias of their own"""


def correct(
    model: onnx_files.Model, int8: onnx_files.Model, taken: Taken, batch_size: int, threads: int
) -> tuple[onnx_files.Model, int]:
    """The float model with other biases, for the int8 one to be made of, and of how many layers.

    `int8` is the model with pairs, as made from it so far; samples are (N, *shape). Layers are those with int8 weights
    that nobody else reads.
    """
    import numpy as np
    from onnx import numpy_helper

    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    pairs = Pairs(int8)
    layers = [
        node
        for node in model.graph.node
        if node.op_type in KINDS
        and node.input[1] in weights
        and pairs.has(node.name)
        and _own_bias(node, model, weights)
    ]
    means = _means(model, {node.input[0]: pairs.input_of(node.name) for node in layers}, taken, batch_size, threads)
    corrected = type(model)()
    corrected.CopyFrom(model)
    nodes = {node.name: node for node in corrected.graph.node}
    stored = {one.name: one for one in corrected.graph.initializer}
    done = 0
    for node in layers:
        if node.input[0] not in means:
            continue
        x, rounded = means[node.input[0]]
        weight = weights[node.input[1]]
        lost = _run(node, model, weight, x) - _run(node, model, pairs.integers_of(node.name).weight(), rounded)
        channels = np.moveaxis(lost, -1 if node.op_type == "Gemm" else 1, 0)
        shift = channels.reshape(len(channels), -1).mean(axis=1, dtype=np.float64)
        if len(node.input) > 2 and node.input[2]:
            name = node.input[2]
            stored[name].CopyFrom(numpy_helper.from_array((weights[name] + shift).astype(weight.dtype), name))
        else:
            name = f"{node.output[0]}_bias_correction"
            corrected.graph.initializer.append(numpy_helper.from_array(shift.astype(weight.dtype), name))
            del nodes[node.name].input[2:]
            nodes[node.name].input.append(name)
        done += 1
    return corrected, done


def _own_bias(node: Any, model: onnx_files.Model, weights: dict[str, Any]) -> bool:
    """Whether the layer's bias may be changed: it has none, or a constant row that no other node reads."""
    if len(node.input) < 3 or not node.input[2]:
        return True
    name = node.input[2]
    readers = sum(name in other.input for other in model.graph.node)
    return readers == 1 and name in weights and weights[name].ndim == 1


def _means(
    model: onnx_files.Model, tensors: dict[str, Rounding | None], taken: Taken, batch_size: int, threads: int
) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Tensor -> its mean over samples (1, *shape), in float and as integers hold it; left out where shapes differ."""
    import numpy as np

    watched = activation_ranges.Watched(model, threads)
    size = min(batch_size, watched.affordable(taken))
    sums: dict[str, list[Any]] = {}
    uneven: set[str] = set()
    for name, values in watched.values(taken, size, "correct biases"):
        if name not in tensors or name in uneven:
            continue
        rounding = tensors[name]
        both = (values, values) if rounding is None else (rounding.clipped(values), rounding.rounded(values))
        found = [one.sum(axis=0, dtype=np.float64) for one in both]
        known = sums.setdefault(name, [0, np.zeros_like(found[0]), np.zeros_like(found[1])])
        if known[1].shape != found[0].shape:
            uneven.add(name)
            continue
        sums[name] = [known[0] + len(values), known[1] + found[0], known[2] + found[1]]
    return {
        name: ((one / count).astype(np.float32)[None], (other / count).astype(np.float32)[None])
        for name, (count, one, other) in sums.items()
        if name not in uneven
    }


def _run(node: Any, model: onnx_files.Model, weight: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """The layer without its bias, alone."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    alone = type(node)()
    alone.CopyFrom(node)
    del alone.input[:]
    alone.input.extend(["x", "weight"])
    del alone.output[:]
    alone.output.append("y")
    graph = helper.make_graph(
        [alone],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight.astype(np.float32), "weight")],
    )
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    with foreign(f"onnxruntime cannot run node {node.name!r} alone", "set calibrate.bias_correction to false"):
        session = onnx_session.start(made.SerializeToString(), 1, "as_written")
        found: NDArray[Any] = session.run(["y"], {"x": x})[0]
    return found.astype(np.float64)
