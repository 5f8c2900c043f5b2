"""Every operation this target knows, by its ONNX name."""

from __future__ import annotations

from recast.stages.targets.cairo.ops import (
    arithmetic,
    averages,
    convolution,
    dense,
    functions,
    maxima,
    normalisation,
    pointwise,
    softmax,
    views,
)
from recast.stages.targets.cairo.ops.operation import Operation

OPERATIONS: dict[str, Operation] = {
    **arithmetic.OPERATIONS,
    **averages.OPERATIONS,
    **convolution.OPERATIONS,
    **dense.OPERATIONS,
    **functions.OPERATIONS,
    **maxima.OPERATIONS,
    **normalisation.OPERATIONS,
    **pointwise.OPERATIONS,
    **softmax.OPERATIONS,
    **views.OPERATIONS,
}
