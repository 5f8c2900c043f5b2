"""The shapes that onnxruntime gives where ONNX's own shape inference states others.

Before opset 22 the inference counts windows of a pool with `ceil_mode` that begin beyond the input; for `auto_pad` it
forgets a pool's dilations, and the output padding of a ConvTranspose. onnxruntime infers as ONNX does when it loads a
model, and may then refuse what its own kernels run. `state` writes such nodes with explicit padding, which all tools
read alike. The formulas are those of onnxruntime's kernels (pool_attributes.h, conv_transpose_attributes.h).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from recast.stages.common.onnx_models.onnx_model import Model, opset

POOLS = ("MaxPool", "AveragePool", "LpPool")
_LIGHT = 4096  # elements: no rule of shape inference reads the values of a larger constant

Pads = tuple[int, int]


def pool_axis(attributes: Mapping[str, Any], axis: int, length: int) -> tuple[Pads, int]:
    """The padding before and after one spatial axis of a pool, as its kernel takes it, and the output's length.

    `attributes` are the node's, with kernel_shape; `length` is the input's.
    """
    kernel = int(attributes["kernel_shape"][axis])
    rank = len(attributes["kernel_shape"])
    stride = int((attributes.get("strides") or [1] * rank)[axis])
    dilation = int((attributes.get("dilations") or [1] * rank)[axis])
    pads = attributes.get("pads") or [0] * 2 * rank
    mode = attributes.get("auto_pad", "NOTSET")
    before, after = int(pads[axis]), int(pads[rank + axis])
    if mode == "VALID":
        before = after = 0
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        # the reach of the dilated window does not enter here; a total below zero is halved toward zero, as C does
        total = (-(-length // stride) - 1) * stride + kernel - length
        before = int((total + (mode == "SAME_LOWER")) / 2)
        after = total - before
    room = length + before + after - (dilation * (kernel - 1) + 1)
    if not attributes.get("ceil_mode", 0):
        return (before, after), int(room / stride) + 1
    count = -(-room // stride) + 1
    # a window that would begin in the padding after the input is left out
    return (before, after), count - ((count - 1) * stride >= length + before)


def transposed_axis(attributes: Mapping[str, Any], axis: int, length: int, kernel: int) -> tuple[Pads, int]:
    """The same for a ConvTranspose whose auto_pad is SAME_UPPER or SAME_LOWER, and that states no output_shape."""
    rank = len(attributes.get("kernel_shape") or attributes.get("strides") or [0] * (axis + 1))
    stride = int((attributes.get("strides") or [1] * rank)[axis])
    dilation = int((attributes.get("dilations") or [1] * rank)[axis])
    extra = int((attributes.get("output_padding") or [0] * rank)[axis])
    output = length * stride
    reached = (length - 1) * stride + extra + dilation * (kernel - 1) + 1
    if reached < output:
        return (0, 0), reached
    total = reached - output
    before = total // 2 if attributes["auto_pad"] == "SAME_UPPER" else total - total // 2
    return (before, total - before), output


def resized(shape: Sequence[int], scales: Sequence[float], axes: Sequence[int]) -> tuple[int, ...]:
    """The shape that Resize and Upsample give for scales: products of float32, where the inference takes others."""
    import numpy as np

    lengths = list(shape)
    for axis, scale in zip(axes, scales, strict=True):
        lengths[axis] = int(np.float32(scale) * np.float32(shape[axis]))
    return tuple(lengths)


def state(model: Model) -> list[str]:
    """Write nodes whose shape would be inferred wrongly with explicit padding, in place; what they are called.

    What the file says of shapes between nodes is dropped then. Only nodes whose input has fixed spatial axes can be
    wrong: of others nothing is inferred.
    """
    stated: list[str] = []
    while True:
        known = _inferred(model)
        found = next(_wrong(model, known), None)
        if found is None:
            break
        index, replacement = found
        node = model.graph.node[index]
        stated.append(node.name or node.output[0])
        del model.graph.node[index]
        for offset, one in enumerate(replacement):
            model.graph.node.insert(index + offset, one)
    if stated:
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")
            if output.name in known:
                output.type.tensor_type.shape.CopyFrom(known[output.name])
    return stated


def _inferred(model: Model) -> dict[str, Any]:
    """Tensor -> its TensorShapeProto, from the inputs' shapes alone, as far as shape inference gets."""
    import onnx

    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in model.graph.output)
    listed = {value.name for value in model.graph.input}
    for weight in model.graph.initializer:
        if prod(weight.dims) <= _LIGHT:
            light.graph.initializer.append(weight)
        elif weight.name not in listed:
            light.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    known = {value.name: value.type.tensor_type.shape for value in values if value.type.tensor_type.HasField("shape")}
    for weight in model.graph.initializer:
        known[weight.name] = onnx.helper.make_tensor_type_proto(1, weight.dims).tensor_type.shape
    return known


def _wrong(model: Model, known: Mapping[str, Any]) -> Iterator[tuple[int, list[Any]]]:
    """Nodes whose inferred spatial axes are not onnxruntime's: their index, and what stands for them."""
    import onnx

    for index, node in enumerate(model.graph.node):
        given, made = (_spatial(known.get(name)) for name in (next(iter(node.input), ""), next(iter(node.output), "")))
        if node.domain not in ("", "ai.onnx") or not given or not made:
            continue
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        attributes["auto_pad"] = attributes.get("auto_pad", b"NOTSET").decode()
        same = attributes["auto_pad"].startswith("SAME")
        if node.op_type in POOLS and len(attributes.get("kernel_shape", ())) == len(given):
            axes = [pool_axis(attributes, axis, length) for axis, length in enumerate(given)]
        elif node.op_type == "ConvTranspose" and same and "output_shape" not in attributes:
            kernel = _spatial(known.get(node.input[1]))
            if kernel is None:
                continue
            axes = [
                transposed_axis(attributes, axis, *both) for axis, both in enumerate(zip(given, kernel, strict=True))
            ]
        else:
            continue
        if [length for _, length in axes] == made:
            continue
        if node.op_type in POOLS:
            replacement = _explicit_pool(model, node, attributes, given, axes)
        else:
            replacement = [_with(node, auto_pad=None, pads=_pads([pads for pads, _ in axes]))]
        if replacement:
            yield index, replacement


def _explicit_pool(
    model: Model, node: Any, attributes: Mapping[str, Any], lengths: Sequence[int], axes: Sequence[tuple[Pads, int]]
) -> list[Any]:
    """The pool without ceil_mode and auto_pad; an average that counts padding, but not what lies beyond it, is padded
    by a node of its own. Empty where no padding that onnxruntime takes gives these windows."""
    kernel = attributes["kernel_shape"]
    ones = [1] * len(kernel)
    strides, dilations = (attributes.get(name) or ones for name in ("strides", "dilations"))
    reached = []
    for ((before, _), output), length, size, stride, dilation in zip(
        axes, lengths, kernel, strides, dilations, strict=True
    ):
        reach = dilation * (size - 1) + 1
        after = max(0, (output - 1) * stride + reach - length - before)
        if before < 0 or max(before, after) >= size or (length + before + after - reach) // stride + 1 != output:
            return []
        reached.append((before, after))
    beyond = any(after > max(stated, 0) for (_, after), ((_, stated), _) in zip(reached, axes, strict=True))
    if not attributes.get("count_include_pad", 0) or not beyond:
        return [_with(node, auto_pad=None, ceil_mode=None, pads=_pads(reached))]
    inner = [(before, min(after, stated)) for (before, after), ((_, stated), _) in zip(reached, axes, strict=True)]
    outer = [(0, after - padded) for (_, after), (_, padded) in zip(reached, inner, strict=True)]
    padding = _padding(model, node, [(0, 0), (0, 0), *inner])
    pool = _with(node, auto_pad=None, ceil_mode=None, count_include_pad=None, pads=_pads(outer))
    pool.input[0] = padding.output[0]
    return [padding, pool]


def _padding(model: Model, node: Any, pads: Sequence[Pads]) -> Any:
    """A Pad of zeros before a node, by the rules of the model's opset."""
    import numpy as np
    import onnx

    name = f"{node.name or node.output[0]}.padded"
    if opset(model) < 11:
        return onnx.helper.make_node("Pad", [node.input[0]], [name], name, pads=_pads(pads))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(_pads(pads), np.int64), f"{name}.pads"))
    return onnx.helper.make_node("Pad", [node.input[0], f"{name}.pads"], [name], name)


def _with(node: Any, **changes: Any) -> Any:
    """A copy of a node with other attributes, None for one that goes."""
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    kept = [attribute for attribute in node.attribute if attribute.name not in changes]
    del copy.attribute[:]
    copy.attribute.extend(kept)
    given = {name: value for name, value in changes.items() if value is not None}
    copy.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in given.items())
    return copy


def _pads(axes: Sequence[Pads]) -> list[int]:
    """In ONNX's order: all before, then all after."""
    return [before for before, _ in axes] + [after for _, after in axes]


def _spatial(shape: Any) -> list[int] | None:
    """The axes behind the first two, if all are fixed."""
    dims = list(shape.dim)[2:] if shape is not None else []
    return [dim.dim_value for dim in dims] if dims and all(dim.HasField("dim_value") for dim in dims) else None
