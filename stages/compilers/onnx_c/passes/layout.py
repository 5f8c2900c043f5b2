"""Layout assignment: `channels_last` where kernels ask for it, and conversions at the borders of those regions.

before: Conv -> Pool -> Reshape;  after: Convert -> Conv -> Pool (channels_last) -> Convert -> Reshape.
A tensor's layout is its producer's choice; a kernel that takes any layout hands on that of its input. A border is as
wide as the widest that a consumer needs; an input of the model never has one, so it is converted.
"""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Layout, Node, Tensor
from recast.stages.compilers.onnx_c.kernels.base import Kernel, Need
from recast.stages.compilers.onnx_c.kernels.generic.copies import CONVERT, Convert


def assign(graph: Graph, kernels: dict[str, Kernel]) -> None:
    """Set layout and border of every tensor, in place; inserts `Convert` nodes and their kernels."""
    wanted, conversions = _wanted(graph, kernels), _Conversions(graph, kernels)
    for node in graph.nodes:
        needs = kernels[node.outputs[0]].needs(node, graph)
        for name, need in zip(node.inputs, needs.inputs, strict=True):
            if name:
                _replace(node, name, conversions.met(graph.tensors[name], need, wanted))
        operands = [step.operand for step in node.epilogue if step.operand]
        for name, need in zip(operands, needs.operands, strict=False):
            _replace(node, name, conversions.met(graph.tensors[name], need, wanted))
        for name, need in zip(node.outputs, needs.outputs, strict=True):
            if name:
                _place(graph, node, graph.tensors[name], need, wanted)
        conversions.nodes.append(node)
    graph.nodes = conversions.nodes
    _outputs(graph, kernels)


Wanted = dict[str, tuple[Layout, tuple[int, ...]]]
"""tensor -> the layout of the consumers that need a border, and the widest border of them"""


def _wanted(graph: Graph, kernels: dict[str, Kernel]) -> Wanted:
    found: Wanted = {}
    for node in graph.nodes:
        for name, need in zip(node.inputs, kernels[node.outputs[0]].needs(node, graph).inputs, strict=True):
            if name and need.layout and any(need.border):
                _, before = found.get(name, (need.layout, (0,) * len(need.border)))
                found[name] = (need.layout, tuple(map(max, before, need.border)))
    return found


class _Conversions:
    """The nodes in running order, with a conversion where a tensor does not lie as its reader needs it."""

    def __init__(self, graph: Graph, kernels: dict[str, Kernel]) -> None:
        self.nodes: list[Node] = []
        self._graph, self._kernels = graph, kernels
        self._made: dict[tuple[str, str], str] = {}
        # tensors that lie as they do, whatever their readers need
        self._fixed = {*graph.inputs, *(name for name, tensor in graph.tensors.items() if tensor.value is not None)}

    def met(self, tensor: Tensor, need: Need, wanted: Wanted) -> str:
        """The name of a tensor with these values that lies as needed: itself, or a conversion made once."""
        if need.layout is None or (_same_order(tensor, need.layout) and _wide_enough(tensor, need.border)):
            if need.layout and not any(tensor.border) and tensor.name not in self._fixed:
                tensor.layout = need.layout
            return tensor.name
        key = (tensor.name, need.layout)
        if key not in self._made:
            layout, border = wanted.get(tensor.name, (need.layout, ()))
            border = border if layout == need.layout else ()
            copy = self._graph.add(tensor, need.layout, layout=need.layout, border=border)
            self.nodes.append(Node(f"{tensor.name}.{need.layout}", CONVERT, [tensor.name], [copy.name]))
            self._kernels[copy.name] = Convert()
            self._made[key] = copy.name
        return self._made[key]


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


def _place(graph: Graph, node: Node, tensor: Tensor, need: Need, wanted: Wanted) -> None:
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
