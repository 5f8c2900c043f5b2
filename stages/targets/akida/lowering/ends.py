"""What only moves values at the model's ends is left to its caller: Reshape, Transpose, PixelShuffle and so on.

In front of the first layer that includes padding by values of the sample itself (reflect, replicate, circular).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recast.stages.targets.akida.layout import PADDINGS, Step
from recast.stages.targets.akida.lowering import edit

if TYPE_CHECKING:
    from recast.stages.targets.akida.graph import Graph

MOVES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "DepthToSpace", "Identity")


def cut_start(graph: Graph) -> tuple[Step, ...]:
    """Drop what stands between the input and the first layer, if that reads a map; what it did."""
    value = graph.model.graph.input[0]
    steps: list[Step] = []
    dropped: list[Any] = []
    name = value.name
    while len(graph.readers.get(name, [])) == 1 and name != graph.model.graph.output[0].name:
        node = graph.readers[name][0]
        found = _steps(graph, node) if node.input[0] == name else None
        found = _padding(graph, node) if found is None else found
        if found is None:
            break
        steps += found
        dropped.append(node)
        name = node.output[0]
    if not steps or len(graph.shapes[name]) != 4:
        return ()
    shape = graph.shapes[name]
    for node in dropped:
        edit.replace(graph, node, [])
    value.name = name
    _set_shape(value, shape)
    return tuple(steps)


def cut_finish(graph: Graph) -> tuple[Step, ...]:
    """Drop what stands behind the last layer; what it did, begun with the shape that the layer gives."""
    output = graph.model.graph.output[0]
    steps: list[Step] = []
    dropped: list[Any] = []
    name = output.name
    while name in graph.makers:
        node = graph.makers[name]
        found = _steps(graph, node)
        alone = len(graph.readers.get(name, [])) == (0 if node.output[0] == output.name else 1)
        if found is None or not alone or node.input[0] not in graph.makers:
            break
        steps = [*found, *steps]
        dropped.append(node)
        name = node.input[0]
    # one that others read as well ends no model
    if not steps or len(graph.readers[name]) > 1 or not all(graph.shapes.get(name, (0,))):
        return ()
    shape = graph.shapes[name]
    for node in dropped:
        edit.replace(graph, node, [])
    output.name = name
    _set_shape(output, shape)
    return (("reshape", shape[1:]), *steps)


def _set_shape(value: Any, shape: tuple[int, ...]) -> None:
    value.type.tensor_type.shape.ClearField("dim")
    for length in shape:
        value.type.tensor_type.shape.dim.add().dim_value = length


def _padding(graph: Graph, node: Any) -> list[Step] | None:
    """What a Pad by values of the sample does to an array (N, ...); None if that is something else."""
    mode = next((bytes(one.s).decode() for one in node.attribute if one.name == "mode"), "constant")
    kind = next((one for one in PADDINGS if one == mode), None)
    rank = len(graph.shapes.get(node.input[0], ()))
    if node.op_type != "Pad" or kind is None or not rank:
        return None
    given = graph.weights.get(node.input[1]) if len(node.input) > 1 else graph.numbers(node, "pads", 0, 2 * rank)
    if given is None:
        return None
    amounts = [int(one) for one in given]
    axes = list(range(rank))
    if len(node.input) > 3 and node.input[3]:
        if node.input[3] not in graph.weights:
            return None
        axes = [int(one) % rank for one in graph.weights[node.input[3]]]
    sides = {axis: (amounts[index], amounts[len(axes) + index]) for index, axis in enumerate(axes)}
    if min(amounts, default=0) < 0 or any(sides.get(0, ())):
        return None
    all_sides = [sides.get(axis, (0, 0)) for axis in range(1, rank)]
    return [(kind, (*(before for before, _ in all_sides), *(after for _, after in all_sides)))]


def _steps(graph: Graph, node: Any) -> list[Step] | None:
    """What the node does to an array (N, ...); None if that is more than to move values of a sample."""
    before, after = graph.shapes.get(node.input[0], ()), graph.shapes.get(node.output[0], ())
    if node.op_type not in MOVES or not before or not after or not all(before) or not all(after):
        return None
    if before[0] != 1 or after[0] != 1:
        return None
    if node.op_type == "Identity":
        return []
    if node.op_type == "Transpose":
        order = graph.numbers(node, "perm", 0, 0) or tuple(reversed(range(len(before))))
        return [("transpose", order[1:])] if order[0] == 0 else None
    if node.op_type == "DepthToSpace":
        block = next(one.i for one in node.attribute if one.name == "blocksize")
        mode = next((bytes(one.s).decode() for one in node.attribute if one.name == "mode"), "DCR")
        _, channels, height, width = before
        kept = channels // block**2
        if mode == "DCR":
            moved: list[Step] = [("reshape", (block, block, kept, height, width)), ("transpose", (3, 4, 1, 5, 2))]
        else:
            moved = [("reshape", (kept, block, block, height, width)), ("transpose", (1, 4, 2, 5, 3))]
        return [*moved, ("reshape", after[1:])]
    return [("reshape", after[1:])]
