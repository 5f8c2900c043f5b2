"""Which Clips onnxruntime's quantizer would lose.

It drops a Clip and leaves its bounds to the range of the quantized tensor. That range always holds zero, so a bound on
the other side of zero, as in Clip(0.5, 6), would no longer be kept.
"""

from __future__ import annotations

from typing import Any

from recast.stages.common.onnx_models import onnx_files


def lost(model: onnx_files.Model) -> set[str]:
    """Names of the Clips whose result is never zero, and of those whose bounds are not constant."""
    import onnx

    constants = {weight.name: onnx.numpy_helper.to_array(weight) for weight in model.graph.initializer}
    return {node.name for node in model.graph.node if node.op_type == "Clip" and not _holds_zero(node, constants)}


def _holds_zero(node: Any, constants: dict[str, Any]) -> bool:
    """From operator set 11 on, the bounds are inputs."""
    bounds = dict(zip(("min", "max"), node.input[1:], strict=False))
    if any(name and name not in constants for name in bounds.values()):
        return False
    low, high = (float(constants[bounds[key]]) if bounds.get(key) else 0.0 for key in ("min", "max"))
    return low <= 0.0 <= high
