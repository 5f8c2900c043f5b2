"""Softmax, and normalization of layers, of groups, by neighbours, and of batches where it could not be folded."""

from __future__ import annotations

from math import prod

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.kernels.generic.reduction import split_axes
from recast.stages.compilers.onnx_c.syntax.expressions import number
from recast.stages.compilers.onnx_c.syntax.loops import View, along, collapse, nest, variables, view


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


class GroupNormalization(_Float):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the channels of a group; a group is one channel for
    InstanceNormalization. Sums are in double precision: a group may be a whole image."""

    name = "group_norm"
    ops = ("InstanceNormalization", "GroupNormalization")

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        channels = x.shape[1]
        groups = channels if node.op == "InstanceNormalization" else int(node.attributes["num_groups"])
        each = channels // groups
        shape = (x.shape[0], groups, each, *x.shape[2:])
        names = variables(len(shape))
        source, target = (
            View(pointer, (tensor.strides[0], each * tensor.strides[1], *tensor.strides[1:])).at(names)
            for tensor, pointer in ((x, "x0"), (y, "y0"))
        )
        over = names[2:], shape[2:]
        channel = f"{names[1]} * {each} + {names[2]}"
        scale, bias = (f"{call.argument(name)}[{channel}]" for name in node.inputs[1:3])
        count = number(1 / prod(shape[2:]))
        text = f"double sum = 0.0;\nfloat mean, deviation;\n{nest(*over, f'sum += {source};')}\n"
        text += f"mean = (float)(sum * {count});\nsum = 0.0;\n"
        text += nest(*over, f"const float d = {source} - mean;\nsum += d * d;")
        text += (
            f"\ndeviation = 1.0f / sqrtf((float)(sum * {count}) + {number(node.attributes.get('epsilon', 1e-5))});\n"
        )
        text += nest(*over, f"{target} = ({source} - mean) * deviation * {scale} + {bias};")
        return nest(names[:2], shape[:2], text)


class LocalResponse(_Float):
    """x / (bias + alpha / size * the sum of squares of the nearest channels) ^ beta."""

    name = "local_response"
    ops = ("LRN",)

    def emit(self, call: Call) -> str:
        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        size, names = int(node.attributes["size"]), variables(len(x.shape))
        low, high = f"i1 - {(size - 1) // 2}", f"i1 + {size - 1 - (size - 1) // 2}"
        near = view(x, "x0").at([names[0], "k", *names[2:]])
        alpha, beta, bias = (
            float(node.attributes.get(name, default))
            for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
        )
        text = f"const int low = {low} < 0 ? 0 : {low};\nconst int high = {high} < {x.shape[1]} ? {high} : "
        text += f"{x.shape[1] - 1};\nfloat sum = 0.0f;\nint k;\nfor (k = low; k <= high; ++k) {{\n"
        text += (
            f"  const float v = {near};\n  sum += v * v;\n}}\n{view(y, 'y0').at(names)} = {view(x, 'x0').at(names)} / "
        )
        text += f"rc_pow({number(bias)} + {number(alpha / size)} * sum, {number(beta)});"
        return nest(names, x.shape, text)


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
