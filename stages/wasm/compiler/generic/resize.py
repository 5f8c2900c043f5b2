"""Resize by nearest neighbour or linear interpolation, in ONNX's coordinate modes.

Where each output index lies in the input is computed here, in float32 as onnxruntime does, since rounding decides which
of two elements a place halfway between them takes; it is kept in tables.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from stages.wasm.compiler.generic.indexed import through_tables
from stages.wasm.compiler.graph import Graph, Node
from stages.wasm.compiler.kernel import Call, Kernel
from stages.wasm.compiler.loops import nest, sum_of, term, variables, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
          "tf_half_pixel_for_nn")  # fmt: skip


class Resize(Kernel):
    """Tables of one index per output index (nearest), or of two and a weight (linear)."""

    name = "resize"
    ops = ("Resize", "Upsample")

    def refusal(self, node: Node, graph: Graph) -> str:
        mode = node.attributes.get("mode", "nearest")
        coordinates = _coordinates(node)
        if mode not in ("nearest", "linear"):
            return f"mode {mode} (supported: nearest, linear)"
        if coordinates not in _MODES:
            return f"coordinate_transformation_mode {coordinates} (supported: {', '.join(_MODES)})"
        if node.attributes.get("antialias", 0):
            return "antialias"
        if mode == "linear" and graph.tensors[node.inputs[0]].dtype != "float32":
            return f"linear on {graph.tensors[node.inputs[0]].dtype} (supported: float32)"
        absent = [name for name in node.inputs[1:] if name and graph.constant(name) is None]
        return f"{absent[0]!r}, which is not constant" if absent else ""

    def emit(self, call: Call) -> str:
        import numpy as np

        node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
        places = _places(call)
        if node.attributes.get("mode", "nearest") == "nearest":
            given = node.attributes.get("nearest_mode", "round_prefer_floor")
            # before opset 11 the standard leaves it open, and onnxruntime rounds up where it makes an axis shorter
            rounding = [given if node.opset > 10 else "ceil" if scale < 1 else "floor" for scale in _scales(call)]
            tables = [
                None if place is None else np.clip(_round(place, how), 0, length - 1)
                for place, how, length in zip(places, rounding, x.shape, strict=True)
            ]
            return through_tables(call, tables)
        names = variables(len(y.shape))
        fixed: list[str] = []
        pairs: list[tuple[tuple[str, str], ...]] = []
        for axis, (place, name) in enumerate(zip(places, names, strict=True)):
            stride, length = x.strides[axis], x.shape[axis]
            if place is None:
                fixed.append(term(name, stride))
                continue
            inside = np.clip(place, 0, length - 1)
            low = np.floor(inside).astype(np.int64)
            fraction = (inside - low).astype(np.float32)
            high = np.minimum(low + 1, length - 1)
            at_low, at_high = (call.weights((index * stride).astype(np.int32)) for index in (low, high))
            share, rest = call.weights(fraction), call.weights((1 - (inside - low)).astype(np.float32))
            pairs.append(((f"{at_low}[{name}]", f"{rest}[{name}]"), (f"{at_high}[{name}]", f"{share}[{name}]")))
        corners = []
        for corner in product(*pairs):
            element = f"x0[{sum_of([*fixed, *(index for index, _ in corner)])}]"
            corners.append(" * ".join([*(weight for _, weight in corner), element]))
        order = sorted(range(len(names)), key=lambda axis: -y.strides[axis])
        body = f"{view(y, 'y0').at(names)} = {' + '.join(corners)};"
        return nest([names[axis] for axis in order], [y.shape[axis] for axis in order], body, independent=True)


def _coordinates(node: Node) -> str:
    default = "half_pixel" if node.op == "Resize" and node.opset > 10 else "asymmetric"
    return str(node.attributes.get("coordinate_transformation_mode", default))


def _places(call: Call) -> list[NDArray[Any] | None]:
    """For each axis where in the input each output index lies; None for an axis that is not resized."""
    import numpy as np

    node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
    mode = _coordinates(node)
    found: list[NDArray[Any] | None] = []
    for length, whole, scale in zip(x.shape, y.shape, _scales(call), strict=True):
        if length == whole and scale == 1.0:
            found.append(None)
            continue
        index, step, half = np.arange(whole, dtype=np.float32), np.float32(scale), np.float32(0.5)
        if mode == "align_corners":
            place = index * np.float32(length - 1) / np.float32(whole - 1) if whole > 1 else index * np.float32(0)
        elif mode == "asymmetric":
            place = index / step
        elif mode == "tf_half_pixel_for_nn":
            place = (index + half) / step
        elif mode == "pytorch_half_pixel" and whole == 1:
            place = index * np.float32(0)
        else:
            place = (index + half) / step - half
            if mode == "half_pixel_symmetric":
                place += np.float32(length) / np.float32(2) * (1 - np.float32(whole) / (step * np.float32(length)))
        found.append(place)
    return found


def _scales(call: Call) -> list[float]:
    node, x, y = call.node, call.tensor(call.node.inputs[0]), call.tensor(call.node.outputs[0])
    rank = len(x.shape)
    axes = [int(axis) % rank for axis in node.attributes.get("axes", range(rank))]
    scales = [1.0] * rank
    given = call.graph.constant(node.input(1 if node.opset < 11 or node.op == "Upsample" else 2))
    sizes = call.graph.constant(node.input(3))
    if sizes is not None and sizes.size:
        ratios = [float(size) / x.shape[axis] for size, axis in zip(sizes, axes, strict=True)]
        policy = node.attributes.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            ratios = [(min if policy == "not_larger" else max)(ratios)] * len(ratios)
    elif given is not None and given.size:
        ratios = [float(scale) for scale in given]
    else:
        ratios = [y.shape[axis] / x.shape[axis] for axis in axes]
    for axis, ratio in zip(axes, ratios, strict=True):
        scales[axis] = ratio
    return scales


def _round(place: NDArray[Any], how: str) -> NDArray[Any]:
    import numpy as np

    if how == "round_prefer_floor":
        rounded = np.ceil(place - 0.5)
    elif how == "round_prefer_ceil":
        rounded = np.floor(place + 0.5)
    else:
        rounded = np.floor(place) if how == "floor" else np.ceil(place)
    whole: NDArray[Any] = rounded.astype(np.int64)
    return whole
