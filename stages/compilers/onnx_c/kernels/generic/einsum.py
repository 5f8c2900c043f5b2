"""Einsum: products of elements, summed over the letters that the output leaves out."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.syntax.loops import View, nest, view


class Einsum(Kernel):
    """A loop for each letter; those that are summed lie inside."""

    name = "einsum"
    ops = ("Einsum",)

    def refusal(self, node: Node, graph: Graph) -> str:
        if "." in str(node.attributes["equation"]):
            return "an equation with an ellipsis"
        dtype = graph.tensors[node.inputs[0]].dtype
        return "" if dtype == "float32" else f"{dtype} (supported: float32)"

    def emit(self, call: Call) -> str:
        node, y = call.node, call.tensor(call.node.outputs[0])
        left, arrow, right = str(node.attributes["equation"]).replace(" ", "").partition("->")
        terms = left.split(",")
        letters = left.replace(",", "")
        made = right if arrow else "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
        lengths: dict[str, int] = {}
        factors = []
        for term, name in zip(terms, node.inputs, strict=True):
            tensor = call.tensor(name)
            for letter, length in zip(term, tensor.shape, strict=True):
                lengths[letter] = max(length, lengths.get(letter, 1))
            # an axis of length 1 stands for any
            strides = [0 if length == 1 else step for length, step in zip(tensor.shape, tensor.strides, strict=True)]
            factors.append(View(call.argument(name), tuple(strides)).at([f"i_{letter}" for letter in term]))
        summed = [letter for letter in lengths if letter not in made]
        call.macs = max(1, y.size)
        for letter in summed:
            call.macs *= lengths[letter]
        body = f"v += {' * '.join(factors)};"
        body = nest([f"i_{letter}" for letter in summed], [lengths[letter] for letter in summed], body)
        target = view(y, "y0").at([f"i_{letter}" for letter in made])
        text = f"float v = 0.0f;\n{body}\n{target} = v;"
        return nest([f"i_{letter}" for letter in made], [lengths[letter] for letter in made], text)
