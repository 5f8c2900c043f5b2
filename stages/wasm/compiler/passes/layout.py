"""Layout assignment: `channels_last` where kernels ask for it, and conversions at the borders of those regions.

before: Conv -> Pool -> Reshape;  after: Convert -> Conv -> Pool (channels_last) -> Convert -> Reshape.
A tensor's layout is its producer's choice; a kernel that takes any layout hands on that of its input. A border is as
wide as the widest that a consumer needs; an input of the model never has one, so it is converted.
"""

from __future__ import annotations

from stages.wasm.compiler.generic.copies import CONVERT, Convert
from stages.wasm.compiler.graph import Graph, Layout, Node, Tensor
from stages.wasm.compiler.kernel import Kernel, Need


def assign(graph: Graph, kernels: dict[str, Kernel]) -> None:
    """Set layout and border of every tensor, in place; inserts `Convert` nodes and their kernels."""
    wanted = _wanted(graph, kernels)
    nodes: list[Node] = []
    converted: dict[tuple[str, str], str] = {}
    fixed = {*graph.inputs, *(name for name, tensor in graph.tensors.items() if tensor.value is not None)}
    for node in graph.nodes:
        kernel = kernels[node.outputs[0]]
        needs = kernel.needs(node, graph)
        for name, need in zip(node.inputs, needs.inputs, strict=True):
            if name:
                _replace(node, name, _meet(graph, kernels, nodes, converted, graph.tensors[name], need, fixed, wanted))
        operands = [step.operand for step in node.epilogue if step.operand]
        for name, need in zip(operands, needs.operands, strict=False):
            _replace(node, name, _meet(graph, kernels, nodes, converted, graph.tensors[name], need, fixed, wanted))
        for name, need in zip(node.outputs, needs.outputs, strict=True):
            if name:
                _place(graph, node, graph.tensors[name], need, wanted)
        nodes.append(node)
    graph.nodes = nodes
    _outputs(graph, kernels)


def _wanted(graph: Graph, kernels: dict[str, Kernel]) -> dict[str, tuple[Layout, tuple[int, ...]]]:
    """Tensor -> the layout of the consumers that need a border, and the widest border of them."""
    found: dict[str, tuple[Layout, tuple[int, ...]]] = {}
    for node in graph.nodes:
        for name, need in zip(node.inputs, kernels[node.outputs[0]].needs(node, graph).inputs, strict=True):
            if name and need.layout and any(need.border):
                _, before = found.get(name, (need.layout, (0,) * len(need.border)))
                found[name] = (need.layout, tuple(map(max, before, need.border)))
    return found


def _meet(
    graph: Graph,
    kernels: dict[str, Kernel],
    nodes: list[Node],
    converted: dict[tuple[str, str], str],
    tensor: Tensor,
    need: Need,
    fixed: set[str],
    wanted: dict[str, tuple[Layout, tuple[int, ...]]],
) -> str:
    """The name of a tensor with these values that lies as needed: itself, or a conversion made once."""
    if need.layout is None or (_same_order(tensor, need.layout) and _wide_enough(tensor, need.border)):
        if need.layout and not any(tensor.border) and tensor.name not in fixed:
            tensor.layout = need.layout
        return tensor.name
    key = (tensor.name, need.layout)
    if key not in converted:
        layout, border = wanted.get(tensor.name, (need.layout, ()))
        copy = graph.add(tensor, need.layout, layout=need.layout, border=border if layout == need.layout else ())
        node = Node(f"{tensor.name}.{need.layout}", CONVERT, [tensor.name], [copy.name])
        nodes.append(node)
        kernels[copy.name] = Convert()
        converted[key] = copy.name
    return converted[key]


def _same_order(tensor: Tensor, layout: Layout) -> bool:
    """Whether the tensor's interior lies as in this layout; axes of length 1 make no difference."""
    if tensor.layout == layout:
        return True
    if any(tensor.border):
        return False
    other = Tensor(tensor.name, tensor.shape, tensor.dtype, layout=layout)
    return other.geometry == tensor.geometry


def _wide_enough(tensor: Tensor, border: tuple[int, ...]) -> bool:
    return all(has >= needed for has, needed in zip(tensor.border, border, strict=False)) and (
        bool(tensor.border) or not any(border)
    )


def _place(
    graph: Graph, node: Node, tensor: Tensor, need: Need, wanted: dict[str, tuple[Layout, tuple[int, ...]]]
) -> None:
    tensor.layout = need.layout or _handed_on(graph, node, tensor)
    if tensor.name in wanted and need.layout is None:
        tensor.layout = wanted[tensor.name][0]
    if tensor.name in wanted and wanted[tensor.name][0] == tensor.layout and tensor.name not in graph.outputs:
        tensor.border = wanted[tensor.name][1]


def _handed_on(graph: Graph, node: Node, tensor: Tensor) -> Layout:
    """channels_last if an input of equal rank that is no constant lies so."""
    sources = [graph.tensors[name] for name in node.reads if graph.tensors[name].value is None]
    if any(each.layout == "channels_last" and len(each.shape) == len(tensor.shape) for each in sources):
        return "channels_last"
    return "plain"


def _outputs(graph: Graph, kernels: dict[str, Kernel]) -> None:
    """The model's outputs lie plain: by their producer where it takes any layout, else by a conversion."""
    for index, name in enumerate(graph.outputs):
        tensor = graph.tensors[name]
        if _same_order(tensor, "plain"):
            tensor.layout = "plain"
            continue
        producer = graph.producers()[name]
        kernel = kernels[producer.outputs[0]]
        need = kernel.needs(producer, graph).outputs[producer.outputs.index(name)]
        consumers = graph.consumers()[name]
        if need.layout is None and not consumers and not any(tensor.border):
            tensor.layout = "plain"
            continue
        copy = graph.add(tensor, "plain", layout="plain", border=())
        graph.nodes.append(Node(f"{name}.plain", CONVERT, [name], [copy.name]))
        kernels[copy.name] = Convert()
        graph.outputs[index] = copy.name


def _replace(node: Node, old: str, new: str) -> None:
    from dataclasses import replace

    if old == new:
        return
    node.inputs = [new if name == old else name for name in node.inputs]
    node.epilogue = [replace(step, operand=new) if step.operand == old else step for step in node.epilogue]
