"""The C that zeroes a border."""

from __future__ import annotations

from recast.stages.compilers.onnx_c.graph import Graph
from recast.stages.compilers.onnx_c.syntax.loops import View, nest, variables


def clear_border(graph: Graph, name: str) -> str:
    """Zero what lies around the interior, by slabs: before and after each axis, outermost axis first."""
    tensor = graph.tensors[name]
    strides, spatial = tensor.strides, len(tensor.shape) - 2
    texts = []
    low = [0, 0, *(-n for n in tensor.border[:spatial])]
    high = [*tensor.shape[:2], *(n + tensor.border[spatial + i] for i, n in enumerate(tensor.shape[2:]))]
    for axis in range(2, 2 + spatial):
        for start, stop in ((low[axis], 0), (tensor.shape[axis], high[axis])):
            if start == stop:
                continue
            begin = [*low[:axis], start, *low[axis + 1 :]]
            extents = [*(h - b for h, b in zip(high[:axis], low[:axis], strict=True)), stop - start]
            extents += [h - b for h, b in zip(high[axis + 1 :], low[axis + 1 :], strict=True)]
            offset = sum(stride * b for stride, b in zip(strides, begin, strict=True))
            indices = variables(len(extents))
            texts.append(nest(indices, extents, f"{View('y0', strides, offset).at(indices)} = 0;"))
        # corners are done: further axes run over the interior of this one
        low[axis], high[axis] = 0, tensor.shape[axis]
    return "\n".join(texts)
