"""Cross-layer equalisation: channels whose ranges lie far apart are brought together, and the function stays the same.

One scale stands for all channels of an activation. Where a channel is much smaller than its neighbours, few steps of
the scale are left for it. Between layers with nothing but homogeneous functions between them, f(s x) = s f(x), a
channel may be divided by any s > 0 if the weights that read it are multiplied by s. As in Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction" (2019), s = sqrt(r1 / r2), of the largest absolute weights
that write a channel (r1) and that read it (r2), here of several layers where sums join them. And s is rounded to a
power of two, by which floats are multiplied without an error, so that not one bit of the scores changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from recast.stages.common.onnx_models import onnx_files, onnx_subgraphs

if TYPE_CHECKING:
    from numpy.typing import NDArray

Axis: TypeAlias = Literal["second", "last", "flat"]
"""where a tensor has its channels; flat: a row for each sample, each channel's numbers beside each other"""

POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
CHANNELWISE = ("Relu", "LeakyRelu", "PRelu")
"""number by number, and f(s x) = s f(x) for s > 0"""
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOST_PASSES = 20
"""over all regions; a layer between two of them is part of both"""
LARGEST_POWER = 24
"""of two, by which a channel is scaled altogether: far from what a float32 cannot hold"""
SUFFIX = "_equalised"
"""of the tensors whose channels are scaled: their values are not those of the model before"""


@dataclass
class Region:
    """Tensors with the same channels, which only layers write and read: their channels can be scaled together."""

    tensors: list[str] = field(default_factory=list)
    writers: list[Any] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)
    is_fixed: bool = False
    """whether something else reads or writes them"""


def equalise(model: onnx_files.Model) -> int:
    """Scale the channels between layers, in place. In how many places there was something to scale."""
    import numpy as np
    from onnx import numpy_helper

    weights = {one.name: one for one in model.graph.initializer}
    values = {name: numpy_helper.to_array(one).copy() for name, one in weights.items()}
    regions = _Regions(model, values).found()
    powers = [np.zeros(_channels(region, values), np.int64) for region in regions]
    for _ in range(MOST_PASSES):
        changed = False
        for index, region in enumerate(regions):
            written = np.max([_writing(node, values) for node in region.writers], axis=0)
            read = np.max([_reading(node, values, len(written)) for node in region.readers], axis=0)
            usable = (written > 0) & (read > 0)
            ratio = np.where(usable, written, 1) / np.where(usable, read, 1)
            step = np.rint(np.log2(ratio) / 2).astype(np.int64)
            step = np.clip(powers[index] + step, -LARGEST_POWER, LARGEST_POWER) - powers[index]
            if step.any():
                changed = True
                powers[index] += step
                _scale(region, values, step)
        if not changed:
            break
    scaled = [region for region, power in zip(regions, powers, strict=True) if power.any()]
    for region in scaled:
        for node in (*region.writers, *region.readers):
            for name in filter(None, node.input[1:]):
                weights[name].CopyFrom(numpy_helper.from_array(values[name], name))
    _rename(model, {name for region in scaled for name in region.tensors})
    return len(scaled)


# -- which channels can be scaled


class _Regions:
    """Tensors put together by the nodes between them, in the order of the graph."""

    def __init__(self, model: onnx_files.Model, values: dict[str, Any]) -> None:
        self._graph, self._values = model.graph, values
        reads = [name for node in model.graph.node for name in onnx_subgraphs.reads(node)]
        self._own = {name for name in values if reads.count(name) == 1}
        self._sizes = {one.name: _size(one) for one in (*model.graph.value_info, *model.graph.output)}
        self._ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in model.graph.value_info}
        self._axes: dict[str, Axis] = {}
        self._region: dict[str, Region] = {}

    def found(self) -> list[Region]:
        """Those that have layers on both sides, and nothing else."""
        for node in self._graph.node:
            self._take(node)
        for value in (*self._graph.input, *self._graph.output):
            self._of(value.name).is_fixed = True
        regions = {id(one): one for one in self._region.values()}.values()
        return [one for one in regions if not one.is_fixed and one.writers and one.readers and self._fits(one)]

    def _fits(self, region: Region) -> bool:
        counts = {len(_by_output(node, self._values[node.input[1]])) for node in region.writers}
        return len(counts) == 1 and all(_inputs(node, self._values) % min(counts) == 0 for node in region.readers)

    def _take(self, node: Any) -> None:
        """Put the node's tensors into regions."""
        given = [name for name in onnx_subgraphs.reads(node) if name and name not in self._values]
        made = [name for name in node.output if name]
        axis = self._axes.get(given[0]) if given else None
        if _is_layer(node, self._own, self._values):
            reads_second = node.op_type in ("Conv", "ConvTranspose")
            if axis is not None and (axis == "second") == reads_second:
                self._of(given[0]).readers.append(node)
            else:
                self._of(given[0]).is_fixed = True
            self._axes[made[0]] = "second" if reads_second else "last"
            self._of(made[0]).writers.append(node)
            return
        after = self._after(node, given, axis) if len(made) == 1 and axis is not None else None
        joined = given[: len(given) if node.op_type in ("Add", "Sum") else 1]
        for name in given:
            if after is None or name not in joined:
                self._of(name).is_fixed = True
        for name in made:
            if after is None:
                self._of(name).is_fixed = True
        if after is not None:
            self._axes[made[0]] = after
            for name in joined:
                self._join(name, made[0])

    def _after(self, node: Any, given: Sequence[str], axis: Axis) -> Axis | None:
        """Where the node's output has the channels of what it is given; None where it has no such channels."""
        kind, made = node.op_type, node.output[0]
        if kind in CHANNELWISE:
            return axis if len(given) == 1 else None
        if kind in POOLS:
            return "second" if axis == "second" else None
        if kind in ("Add", "Sum"):
            sizes = {self._size(name) for name in (*given, made)}
            axes = {self._axes.get(name) for name in given}
            return (
                axis
                if len(given) == len(node.input) and len(sizes) == 1 and 0 not in sizes and axes == {axis}
                else None
            )
        if kind == "Mul" and len(given) == 2:
            # a gate: what it is multiplied by is no channel of the region
            return axis if 0 < self._size(given[1]) < self._size(given[0]) == self._size(made) else None
        if kind == "ReduceMean" and axis == "second" and len(given) == 1:
            return self._after_mean(node, given[0])
        return "flat" if axis == "second" and self._flattens(node) else None

    def _after_mean(self, node: Any, name: str) -> Axis | None:
        """A mean over all axes behind the channels."""
        numbers, rank = _attributes(node), self._ranks.get(name, 0)
        axes = self._values[node.input[1]].tolist() if len(node.input) > 1 else numbers.get("axes", [])
        if rank < 3 or sorted(one % rank for one in axes) != list(range(2, rank)):
            return None
        return "second" if numbers.get("keepdims", 1) else "flat"

    def _flattens(self, node: Any) -> bool:
        """Whether it makes a row of each sample, as Flatten does, and the Reshape that PyTorch's becomes."""
        if node.op_type == "Flatten":
            return bool(_attributes(node).get("axis", 1) == 1)
        if node.op_type != "Reshape" or node.input[1] not in self._values:
            return False
        shape = self._values[node.input[1]].tolist()
        return shape == [0, -1] or (len(shape) == 2 and shape[0] in (0, -1) and shape[1] == self._size(node.input[0]))

    def _size(self, name: str) -> int:
        return self._sizes.get(name, 0)

    def _of(self, name: str) -> Region:
        return self._region.setdefault(name, Region([name]))

    def _join(self, first: str, second: str) -> None:
        one, other = self._of(first), self._of(second)
        if one is other:
            return
        one.tensors += other.tensors
        one.writers += other.writers
        one.readers += other.readers
        one.is_fixed = one.is_fixed or other.is_fixed
        for name in other.tensors:
            self._region[name] = one


def _is_layer(node: Any, own: set[str], values: dict[str, Any]) -> bool:
    """A layer whose weights nobody else reads, and which sums over one axis of one input."""
    if node.op_type not in LAYERS or not all(name in own for name in node.input[1:] if name) or node.input[0] in values:
        return False
    numbers, weight = _attributes(node), values[node.input[1]]
    if weight.dtype != "float32":
        return False
    if node.op_type == "Gemm":
        # of another beta the bias is no part of the channel that is read here
        return bool(numbers.get("transA", 0) == 0 and numbers.get("beta", 1.0) == 1.0)
    if node.op_type == "MatMul":
        # of a weight with more axes there are as many products
        return bool(weight.ndim == 2)
    return bool(node.op_type != "ConvTranspose" or numbers.get("group", 1) == 1)


def _size(value: Any) -> int:
    """Numbers of one sample; 0 where the shape does not say."""
    dims = value.type.tensor_type.shape.dim
    return math.prod(dim.dim_value for dim in dims[1:])


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


# -- weights


def _channels(region: Region, values: dict[str, Any]) -> int:
    node = region.writers[0]
    return len(_by_output(node, values[node.input[1]]))


def _groups(node: Any) -> int:
    return int(_attributes(node).get("group", 1)) if node.op_type == "Conv" else 1


def _inputs(node: Any, values: dict[str, Any]) -> int:
    """How many numbers, or channels, the layer reads."""
    return len(_by_input(node, values[node.input[1]])) * _groups(node)


def _by_output(node: Any, weight: NDArray[Any]) -> NDArray[Any]:
    """The weights as (output channel, the rest), a view."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and _attributes(node).get("transB", 0)):
        return weight
    return weight.swapaxes(0, 1) if node.op_type != "MatMul" else weight.T


def _by_input(node: Any, weight: NDArray[Any]) -> NDArray[Any]:
    """The weights as (input, the rest), a view; of a grouped convolution, the inputs of a group."""
    return weight if node.op_type == "ConvTranspose" else _by_output(node, weight).swapaxes(0, 1)


def _writing(node: Any, values: dict[str, Any]) -> NDArray[Any]:
    """The largest absolute weight of each output channel."""
    import numpy as np

    rows = _by_output(node, values[node.input[1]])
    found: NDArray[Any] = np.abs(rows).reshape(len(rows), -1).max(axis=1)
    return found


def _reading(node: Any, values: dict[str, Any], channels: int) -> NDArray[Any]:
    """The largest absolute weight by which each channel is read; one that was flattened is several inputs."""
    import numpy as np

    weight, groups = np.abs(values[node.input[1]]), _groups(node)
    grouped = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    found: NDArray[Any] = (grouped if groups > 1 else _by_input(node, weight)).reshape(channels, -1).max(axis=1)
    return found


def _scale(region: Region, values: dict[str, Any], step: NDArray[Any]) -> None:
    """Divide each channel by two to the power of its step, in the weights that write it and that read it."""
    import numpy as np

    for node in region.writers:
        rows = _by_output(node, values[node.input[1]])
        rows[...] = np.ldexp(rows, -step.reshape(-1, *[1] * (rows.ndim - 1)))
        for name in filter(None, node.input[2:]):
            # a Gemm's bias may be one number, or a row for all
            bias = values[name]
            spread = np.broadcast_to(bias, (*bias.shape[:-1], len(step)))
            values[name] = np.ldexp(spread, -step).astype(bias.dtype)
    for node in region.readers:
        name, groups = node.input[1], _groups(node)
        if groups > 1:
            parts = values[name].reshape(groups, -1, *values[name].shape[1:])
            factor = step.reshape(groups, 1, -1, *[1] * (parts.ndim - 3))
            values[name] = np.ldexp(parts, factor).reshape(values[name].shape)
            continue
        columns = _by_input(node, values[name])
        spread = np.repeat(step, len(columns) // len(step))
        columns[...] = np.ldexp(columns, spread.reshape(-1, *[1] * (columns.ndim - 1)))


def _rename(model: onnx_files.Model, names: set[str]) -> None:
    new = {name: f"{name}{SUFFIX}" for name in names}
    for node in model.graph.node:
        onnx_subgraphs.rename_reads(node, new)
        for index, name in enumerate(node.output):
            node.output[index] = new.get(name, name)
    for value in model.graph.value_info:
        value.name = new.get(value.name, value.name)
