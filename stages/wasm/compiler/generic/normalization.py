"""Softmax, LogSoftmax, LayerNormalization, and BatchNormalization where it could not be folded."""

from __future__ import annotations

from math import prod

from stages.wasm.compiler.expressions import number
from stages.wasm.compiler.generic.reduction import split_axes
from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.kernel import Call, Kernel
from stages.wasm.compiler.loops import View, along, collapse, nest, variables, view


class _Float(Kernel):
    def refusal(self, node: Node, graph: Graph) -> str:
        dtype = graph.tensors[node.inputs[0]].dtype
        return "" if dtype == "float32" else f"{dtype} (supported: float32)"


class Softmax(_Float):
    """Over one axis; before opset 13 over all axes from the given one on. The largest value is subtracted first."""

    name = "softmax"
    ops = ("Softmax", "LogSoftmax")
    in_place = True

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        axis = int(node.attributes.get("axis", -1 if node.opset >= 13 else 1))
        axis = axis % rank if axis != rank else rank
        axes = [axis] if node.opset >= 13 else list(range(axis, rank))
        names = [f"i{n}" for n in range(rank)]
        source, target = view(x, "x0").at(names), view(y, "y0").at(names)
        outer, inner = split_axes(x, axes, view(y, "y0"))
        over = [names[n] for n in inner], [x.shape[n] for n in inner]
        largest = nest(*over, f"if ({source} > largest) largest = {source};")
        text = f"float largest = -INFINITY, sum = 0.0f;\n{largest}\n"
        if node.op == "Softmax":
            text += nest(*over, f"const float v = rc_exp({source} - largest);\n{target} = v;\nsum += v;")
            text += f"\nsum = 1.0f / sum;\n{nest(*over, f'{target} *= sum;')}"
        else:
            text += nest(*over, f"sum += rc_exp({source} - largest);")
            text += f"\nsum = rc_log(sum);\n{nest(*over, f'{target} = {source} - largest - sum;')}"
        return nest([names[n] for n in outer], [x.shape[n] for n in outer], text)


class LayerNormalization(_Float):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over all axes from the given one on; two passes."""

    name = "layer_norm"
    ops = ("LayerNormalization",)

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        axes = list(range(int(node.attributes.get("axis", -1)) % rank, rank))
        names = [f"i{n}" for n in range(rank)]
        source = view(x, "x0").at(names)
        outer, inner = split_axes(x, axes, view(y, "y0"))
        over = [names[n] for n in inner], [x.shape[n] for n in inner]
        scale = number(1 / prod(x.shape[n] for n in axes))
        text = f"float mean = 0.0f, deviation = 0.0f;\n{nest(*over, f'mean += {source};')}\nmean *= {scale};\n"
        text += nest(*over, f"const float d = {source} - mean;\ndeviation += d * d;")
        text += f"\ndeviation = 1.0f / sqrtf(deviation * {scale} + {number(node.attributes.get('epsilon', 1e-5))});\n"
        result = f"({source} - mean) * deviation"
        for name, sign in zip(node.inputs[1:3], "*+", strict=False):
            if name:
                tensor = call.tensor(name)
                missing = rank - len(tensor.shape)
                steps = [0 if n == 1 else step for n, step in zip(tensor.shape, tensor.strides, strict=True)]
                side = View(call.argument(name), (*(0,) * missing, *steps)).at(names)
                result = f"{result} {sign} {side}"
        text += nest(*over, f"{view(y, 'y0').at(names)} = {result};")
        for name, value in zip(node.outputs[1:], ("mean", "deviation"), strict=False):
            if name:
                place = view(call.tensor(name), call.argument(name)).at([*names[: axes[0]], *["0"] * len(axes)])
                text += f"\n{place} = {value};"
        return nest([names[n] for n in outer], [x.shape[n] for n in outer], text)


class BatchNormalization(_Float):
    """Inference with statistics that are not constant, or with nothing before it to fold into."""

    name = "batch_norm"
    ops = ("BatchNormalization",)
    in_place = True

    def refusal(self, node: Node, graph: Graph) -> str:
        if node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
            return "training_mode"
        return super().refusal(node, graph)

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        rank = len(x.shape)
        sides = [along(call.tensor(name), call.argument(name), 1, rank) for name in node.inputs[1:5]]
        extents, views = collapse(x.shape, [view(y, "y0"), view(x, "x0"), *sides])
        indices = variables(len(extents))
        target, source, scale, bias, mean, variance = [each.at(indices) for each in views]
        epsilon = number(node.attributes.get("epsilon", 1e-5))
        value = f"({source} - {mean}) / sqrtf({variance} + {epsilon}) * {scale} + {bias}"
        return nest(indices, extents, f"{target} = {value};", independent=True)
