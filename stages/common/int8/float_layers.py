"""Layers in float of a model with quantize/dequantize pairs: so written that onnxruntime leaves them in float.

From a float layer between integers (DequantizeLinear, Conv, Relu, QuantizeLinear) onnxruntime makes an integer one when
it loads the file (WeightBiasQuantization among its transformers): weights in 8 bits by one scale for all channels,
whose sums of two products may leave 16 bits. It does so where the input has one scale. So such a layer reads its
input through a DequantizeLinear of its own, which has that scale once for each channel: the same numbers, to the last
bit.
"""

from __future__ import annotations

from typing import Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.onnx_subgraphs import reads

KINDS = ("Conv", "ConvTranspose", "Gemm")


def keep(model: onnx_files.Model) -> int:
    """Write them so, in place; how many there are."""
    import numpy as np
    from onnx import helper, numpy_helper

    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    nodes, kept = [], 0
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if node.op_type in KINDS else None
        if maker is None or maker.op_type != "DequantizeLinear" or node.input[1] not in values:
            nodes.append(node)
            continue
        source, *given = maker.input
        if not all(name in values for name in given) or values[given[0]].size != 1:
            nodes.append(node)
            continue
        axis, channels = _channels(node, values[node.input[1]].shape)
        own = f"{node.name}_in_float"
        names = []
        for name, what in zip(given, ("scale", "zero_point"), strict=False):
            names.append(f"{own}_{what}")
            each = np.full(channels, values[name].reshape(()), values[name].dtype)
            model.graph.initializer.append(numpy_helper.from_array(each, names[-1]))
        nodes.append(helper.make_node("DequantizeLinear", [source, *names], [own], own, axis=axis, domain=maker.domain))
        node.input[0] = own
        nodes.append(node)
        kept += 1
    if kept:
        # what nobody reads any more
        read = {name for node in nodes for name in reads(node)} | {one.name for one in model.graph.output}
        left = [one for one in nodes if one.op_type != "DequantizeLinear" or any(name in read for name in one.output)]
        del model.graph.node[:]
        model.graph.node.extend(left)
    return kept


def _channels(node: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """The axis of the layer's input that has its channels, and how many they are, by its weights' shape."""
    given = {one.name: one.i for one in node.attribute}
    if node.op_type == "Gemm":
        return int(not given.get("transA", 0)), shape[1] if given.get("transB", 0) else shape[0]
    return 1, shape[0] if node.op_type == "ConvTranspose" else shape[1] * given.get("group", 1)
