"""What simplifiers leave in a graph though it is constant: an If of known condition, and tensors without elements.

Both stop tools behind them. Every node that is written exists in all operator sets: Identity, and those of the branch.
"""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.onnx_subgraphs import reads, rename_reads, subgraphs

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fold(model: onnx_files.Model) -> int:
    """Put the branch that is taken in place of each If with a constant condition, and drop empty parts of Concats.

    Changed in place; how many nodes that were. The model computes the same.
    """
    inlined = 0
    while _inline_one(model):
        inlined += 1
    return inlined + _drop_empty(model)


def _inline_one(model: onnx_files.Model) -> bool:
    """The first If of the main graph whose condition is constant; what it holds may be such an If again."""
    graph = model.graph
    for index, node in enumerate(graph.node):
        if node.op_type != "If" or node.domain not in ("", "ai.onnx"):
            continue
        condition = _constant(graph, node.input[0])
        if condition is None or condition.size != 1:
            continue
        wanted = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
        branch = next(entry.g for entry in node.attribute if entry.name == wanted)
        nodes = _inlined(model, branch, list(node.output))
        others = list(graph.node)
        others[index : index + 1] = nodes
        del graph.node[:]
        graph.node.extend(others)
        return True
    return False


def _inlined(model: onnx_files.Model, branch: Any, outputs: list[str]) -> list[Any]:
    """The nodes of a branch under names new to the main graph, writing `outputs`; its weights join the graph's."""
    import onnx

    taken = _names(model.graph) | set(outputs)
    own = {weight.name for weight in branch.initializer} | {
        name for node in branch.node for name in node.output if name
    }
    given = {value.name: name for value, name in zip(branch.output, outputs, strict=True) if name}
    made = {name for node in branch.node for name in node.output}
    # an output that is written once, by a node of the branch, is the If's own
    called = {name: given[name] for name in given if name in made}
    for name in sorted(own - called.keys()):
        called[name] = _fresh(f"{outputs[0]}/{name}", taken) if name in taken else name
        taken.add(called[name])
    names = {node.name for node in model.graph.node}
    nodes = []
    for node in branch.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        rename_reads(copy, called)
        copy.output[:] = [called.get(name, name) for name in copy.output]
        if copy.name:  # onnxruntime refuses two nodes of one name
            copy.name = _fresh(copy.name, names)
        nodes.append(copy)
    for weight in branch.initializer:
        moved = onnx.TensorProto()
        moved.CopyFrom(weight)
        moved.name = called[weight.name]
        onnx_files.add_weight(model, moved)
    for value, name in zip(branch.output, outputs, strict=True):
        source = called.get(value.name, value.name)
        if name and source != name:
            nodes.append(onnx.helper.make_node("Identity", [source], [name], name=_fresh(f"{name}/Identity", taken)))
    return nodes


def _drop_empty(model: onnx_files.Model) -> int:
    import onnx

    if not any(node.op_type == "Concat" for node in model.graph.node):
        return 0
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [
            axis.dim_value if axis.HasField("dim_value") else None for axis in value.type.tensor_type.shape.dim
        ]
        for value in (*inferred.input, *inferred.value_info)
        if value.type.tensor_type.HasField("shape")
    } | {weight.name: list(weight.dims) for weight in inferred.initializer}
    changed = 0
    for node in model.graph.node:
        if node.op_type != "Concat":
            continue
        axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
        kept = [name for name in node.input if not _is_empty(shapes.get(name), axis)]
        if 0 < len(kept) < len(node.input):
            node.input[:] = kept
            changed += 1
    if changed:
        _drop_unread(model)
    return changed


def _is_empty(shape: list[int | None] | None, axis: int) -> bool:
    return shape is not None and -len(shape) <= axis < len(shape) and shape[axis] == 0


def _drop_unread(model: onnx_files.Model) -> None:
    """Nodes that nothing reads any more, and Concats of a single tensor."""
    import onnx

    graph = model.graph
    ends = {value.name for value in graph.output}
    for node in graph.node:
        if node.op_type == "Concat" and len(node.input) == 1:
            node.op_type = "Identity"
            del node.attribute[:]
    while True:
        read = {name for node in graph.node for name in reads(node)} | ends
        kept = [node for node in graph.node if read.intersection(node.output)]
        if len(kept) == len(graph.node):
            return
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)


def _constant(graph: Any, name: str) -> NDArray[Any] | None:
    import onnx

    for weight in graph.initializer:
        if weight.name == name:
            found: NDArray[Any] | None = onnx.numpy_helper.to_array(weight)
            return found
    for node in graph.node:
        if name in node.output and node.op_type == "Constant":
            value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
            found = None if value is None else onnx.numpy_helper.to_array(value)
            return found
        if name in node.output and node.op_type == "Identity":
            return _constant(graph, node.input[0])
    return None


def _names(graph: Any) -> set[str]:
    """Every name of a tensor in the graph and in its subgraphs."""
    found = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        found.update(node.input, node.output)
        for inner in subgraphs(node):
            found |= _names(inner)
    return found


def _fresh(name: str, taken: set[str]) -> str:
    candidate = next(one for one in chain([name], (f"{name}_{number}" for number in count(1))) if one not in taken)
    taken.add(candidate)
    return candidate
