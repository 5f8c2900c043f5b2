"""Every operation this target knows, by its ONNX name."""

from __future__ import annotations

from stages.cairo.operation import Operation
from stages.cairo.ops import averages, convolution, dense, maxima, pointwise, softmax, views

OPERATIONS: dict[str, Operation] = {
    **averages.OPERATIONS,
    **convolution.OPERATIONS,
    **dense.OPERATIONS,
    **maxima.OPERATIONS,
    **pointwise.OPERATIONS,
    **softmax.OPERATIONS,
    **views.OPERATIONS,
}
