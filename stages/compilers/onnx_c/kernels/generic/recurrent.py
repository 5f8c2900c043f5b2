"""LSTM, GRU and RNN in either or both directions, over sequences of one length, with constant weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.syntax.expressions import unary
from recast.stages.compilers.onnx_c.syntax.loops import loop, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_KNOWN = ("Sigmoid", "Tanh", "Relu")
_W, _R, _B, _LENGTHS, _H, _C, _PEEPHOLES = 1, 2, 3, 4, 5, 6, 7


class Recurrent(Kernel):
    """One step after the other: all gates' sums in one row, whose inner loop runs along transposed weights."""

    name = "recurrent"
    ops = tuple(_GATES)

    def refusal(self, node: Node, graph: Graph) -> str:
        if graph.tensors[node.inputs[0]].dtype != "float32":
            return f"{graph.tensors[node.inputs[0]].dtype} (supported: float32)"
        if any(node.input(index) and graph.constant(node.input(index)) is None for index in (_W, _R, _B)):
            return "weights that are not constant"
        rows, columns = graph.tensors[node.inputs[_R]].shape[1:]
        if rows != _GATES[node.op] * columns:
            return f"recurrent weights of {rows} rows for a state of {columns}: a projection"
        if node.attributes.get("layout", 0):
            return "layout 1 (supported: 0, the sequence first)"
        if node.input(_LENGTHS):
            lengths = graph.constant(node.input(_LENGTHS))
            if lengths is None or (lengths != graph.tensors[node.inputs[0]].shape[0]).any():
                return "sequences of different lengths"
        if node.op == "LSTM" and node.input(_PEEPHOLES):
            return "peepholes"
        for name in ("clip", "input_forget", "activation_alpha", "activation_beta"):
            if node.attributes.get(name):
                return name
        unknown = [name for name in node.attributes.get("activations", ()) if name not in _KNOWN]
        return f"activation {unknown[0]} (supported: {', '.join(_KNOWN)})" if unknown else ""

    def emit(self, call: Call) -> str:
        node, (steps, batch, width) = call.node, call.tensor(call.node.inputs[0]).shape
        hidden = call.tensor(node.inputs[_R]).shape[2]
        direction = node.attributes.get("direction", "forward")
        backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
        gates = _GATES[node.op]
        call.macs = len(backwards) * batch * steps * gates * hidden * (width + hidden)
        # what a GRU resets after its product is summed on its own
        rows = gates + int(_resets_late(node))
        state, cell = (call.scratch("float", hidden) for _ in range(2))
        parts = [call.accumulators(rows * hidden).rstrip("\n")]
        for number, reverse in enumerate(backwards):
            begin = [_start(call, _H, state, number, hidden)]
            if node.op == "LSTM":
                begin.append(_start(call, _C, cell, number, hidden))
            when = f"{steps - 1} - n" if reverse else "n"
            step = [f"const int t = {when};", *_sums(call, number, width, hidden, state)]
            step.append(loop("j", hidden, _update(node, number, hidden, state, cell)))
            made = [(0, ["t", str(number), "b", "j"], state), (1, [str(number), "b", "j"], state)]
            made += [(2, [str(number), "b", "j"], cell)] if node.op == "LSTM" else []
            stored = [
                (index, loop("j", hidden, f"{view(call.tensor(name), call.argument(name)).at(place)} = {what}[j];"))
                for index, place, what in made
                if (name := node.outputs[index] if index < len(node.outputs) else "")
            ]
            step += [text for index, text in stored if index == 0]
            body = [*begin, loop("n", steps, "\n".join(step)), *(text for index, text in stored if index > 0)]
            parts.append(loop("b", batch, "\n".join(body)))
        return "\n".join(parts)


def _resets_late(node: Node) -> bool:
    return node.op == "GRU" and bool(node.attributes.get("linear_before_reset", 0))


def _start(call: Call, index: int, to: str, direction: int, hidden: int) -> str:
    """What the state is before the first step: the tensor of that input, or zeros."""
    name = call.node.input(index)
    value = view(call.tensor(name), call.argument(name)).at([str(direction), "b", "j"]) if name else "0.0f"
    return loop("j", hidden, f"{to}[j] = {value};")


def _sums(call: Call, direction: int, width: int, hidden: int, state: str) -> list[str]:
    """The row `acc` of all gates' sums: biases, the input's products, the state's products."""
    import numpy as np

    node, gates = call.node, _GATES[call.node.op]
    whole, late = gates * hidden, _resets_late(node)
    # the gates whose sums the state enters as it is
    early = (gates - 1 if node.op == "GRU" else gates) * hidden

    def weights(array: NDArray[Any]) -> str:
        return call.weights(np.ascontiguousarray(array, np.float32))

    w, r = (np.asarray(call.graph.constant(node.inputs[index])) for index in (_W, _R))
    of_input, of_state = weights(w[direction].T), weights(r[direction].T)
    given = call.graph.constant(node.input(_B))
    both = np.zeros(2 * whole, np.float32) if given is None else given[direction]
    bias = both[:whole] + both[whole:]
    if late:
        bias = np.concatenate([bias[:early], both[early:whole], both[whole + early :]])
    source = view(call.tensor(node.inputs[0]), "x0").at(["t", "b", "k"])
    lines = [
        loop("j", len(bias), f"acc[j] = {weights(bias)}[j];"),
        loop("k", width, f"const float v = {source};\n" + _added(whole, 0, of_input, whole)),
    ]
    products = [_added(early, 0, of_state, whole)]
    if late:
        products.append(_added(hidden, whole, f"({of_state} + {early})", whole))
    lines.append(loop("k", hidden, "\n".join([f"const float v = {state}[k];", *products])))
    if node.op == "GRU" and not late:
        gate = f"float r = acc[{hidden} + k];\nr = {unary(_activations(node, direction)[0], 'r', {}, 'float32')};"
        reset = f"{gate}\nconst float v = r * {state}[k];"
        lines.append(loop("k", hidden, f"{reset}\n" + _added(hidden, early, f"({of_state} + {early})", whole)))
    return lines


def _added(count: int, start: int, weights: str, stride: int) -> str:
    to = f"acc[{start} + j]" if start else "acc[j]"
    return loop("j", count, f"{to} += v * {weights}[k * {stride} + j];")


def _activations(node: Node, direction: int) -> Sequence[str]:
    default = _ACTIVATIONS[node.op]
    given = node.attributes.get("activations", ())
    return given[direction * len(default) : (direction + 1) * len(default)] if given else default


def _update(node: Node, direction: int, hidden: int, state: str, cell: str) -> str:
    """The new state from the sums, for one j. Equations and the order of the gates: ONNX's operators."""
    activations = _activations(node, direction)

    def applied(index: int, variable: str) -> str:
        return f"{variable} = {unary(activations[index], variable, {}, 'float32')};"

    if node.op == "RNN":
        return f"float v = acc[j];\n{applied(0, 'v')}\n{state}[j] = v;"
    if node.op == "GRU":
        late = f" + r * acc[{3 * hidden} + j]" if _resets_late(node) else ""
        lines = ["float z = acc[j];", applied(0, "z")]
        if late:
            lines += [f"float r = acc[{hidden} + j];", applied(0, "r")]
        lines += [f"float v = acc[{2 * hidden} + j]{late};", applied(1, "v")]
        return "\n".join([*lines, f"{state}[j] = (1.0f - z) * v + z * {state}[j];"])
    lines = []
    for number, (variable, activation) in enumerate((("i", 0), ("o", 0), ("f", 0), ("v", 1))):
        lines += [f"float {variable} = acc[{number * hidden} + j];", applied(activation, variable)]
    lines += [f"v = f * {cell}[j] + i * v;", f"{cell}[j] = v;", applied(2, "v"), f"{state}[j] = o * v;"]
    return "\n".join(lines)
