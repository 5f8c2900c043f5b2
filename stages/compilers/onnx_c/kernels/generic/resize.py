"""Resize by nearest neighbour, linear or cubic interpolation, in ONNX's coordinate modes.

Where each output index lies in the input is computed here, in float32 as onnxruntime does, since rounding decides which
of two elements a place halfway between them takes; it is kept in tables.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

from recast.stages.compilers.onnx_c.graph import Graph, Node
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.kernels.generic.indexed import through_tables
from recast.stages.compilers.onnx_c.syntax.loops import nest, sum_of, term, variables, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
          "tf_half_pixel_for_nn")  # fmt: skip


class Resize(Kernel):
    """Tables of one index per output index (nearest), or of two (linear) or four (cubic) with their weights."""

    name = "resize"
    ops = ("Resize", "Upsample")

    def refusal(self, node: Node, graph: Graph) -> str:
        mode = node.attributes.get("mode", "nearest")
        coordinates = _coordinates(node)
        if mode not in ("nearest", "linear", "cubic"):
            return f"mode {mode} (supported: nearest, linear, cubic)"
        if coordinates not in _MODES:
            return f"coordinate_transformation_mode {coordinates} (supported: {', '.join(_MODES)})"
        if node.attributes.get("antialias", 0):
            return "antialias"
        if mode != "nearest" and graph.tensors[node.inputs[0]].dtype != "float32":
            return f"{mode} on {graph.tensors[node.inputs[0]].dtype} (supported: float32)"
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
        taps: list[tuple[tuple[str, str], ...]] = []
        for axis, (place, name) in enumerate(zip(places, names, strict=True)):
            stride, length = x.strides[axis], x.shape[axis]
            if place is None:
                fixed.append(term(name, stride))
                continue
            found = _cubic(node, place, length) if node.attributes["mode"] == "cubic" else _linear(place, length)
            weighted = [
                (call.weights((index * stride).astype(np.int32)), call.weights(weight.astype(np.float32)))
                for index, weight in found
            ]
            taps.append(tuple((f"{at}[{name}]", f"{weight}[{name}]") for at, weight in weighted))
        corners = []
        for corner in product(*taps):
            element = f"x0[{sum_of([*fixed, *(index for index, _ in corner)])}]"
            corners.append(" * ".join([*(weight for _, weight in corner), element]))
        order = sorted(range(len(names)), key=lambda axis: -y.strides[axis])
        body = f"{view(y, 'y0').at(names)} = {' + '.join(corners)};"
        return nest([names[axis] for axis in order], [y.shape[axis] for axis in order], body, independent=True)


_Taps = list[tuple["NDArray[Any]", "NDArray[Any]"]]


def _linear(place: NDArray[Any], length: int) -> _Taps:
    """The element before each place and the one after it, each with its weights."""
    import numpy as np

    inside = np.clip(place, 0, length - 1)
    low = np.floor(inside).astype(np.int64)
    return [(low, 1 - (inside - low)), (np.minimum(low + 1, length - 1), inside - low)]


def _cubic(node: Node, place: NDArray[Any], length: int) -> _Taps:
    """Two elements on either side, each with its weights: Keys' kernel, with ONNX's cubic_coeff_a."""
    import numpy as np

    a = float(node.attributes.get("cubic_coeff_a", -0.75))
    low = np.floor(place).astype(np.int64)
    t = place.astype(np.float64) - low

    def near(d: Any) -> Any:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Any) -> Any:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    taps = [(low - 1, far(t + 1)), (low, near(t)), (low + 1, near(1 - t)), (low + 2, far(2 - t))]
    if node.attributes.get("exclude_outside", 0):
        taps = [(index, np.where((index < 0) | (index >= length), 0, weight)) for index, weight in taps]
        whole = np.sum([weight for _, weight in taps], axis=0)
        taps = [(index, weight / whole) for index, weight in taps]
    return [(np.clip(index, 0, length - 1), weight) for index, weight in taps]


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
