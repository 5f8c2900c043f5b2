"""Every operation this target knows, by its ONNX name."""

from __future__ import annotations

from stages.cairo.operation import Operation
from stages.cairo.ops import dense, pointwise, softmax, views

OPERATIONS: dict[str, Operation] = {
    **dense.OPERATIONS,
    **pointwise.OPERATIONS,
    **softmax.OPERATIONS,
    **views.OPERATIONS,
}
