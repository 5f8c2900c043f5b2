"""Fix the batch of a model, and say what its input and output then are."""

from __future__ import annotations

from stages import onnx_files
from stages.base import StageError


def fix(model: onnx_files.Model, batch: int) -> onnx_files.Model:
    """A copy whose input takes `batch` samples, with the shapes of all tensors inferred anew.

    Raises StageError if the model has another batch of its own, or an axis other than the first is open.
    """
    import onnx

    port = onnx_files.only_input(model, "the model")
    if not port.shape or port.shape[0] not in (None, batch):
        own = port.shape[0] if port.shape else "no batch of"
        raise StageError(
            f"the model takes {own} samples at once, and emit.batch is {batch}",
            "set emit.batch to the model's own",
            "set export.dynamic_batch to true",
        )
    if None in port.shape[1:]:
        raise StageError(f"the model's input {port.name} has an open axis: {port.shape}", "export it with fixed axes")
    fixed = type(model)()
    fixed.CopyFrom(model)
    value = next(value for value in fixed.graph.input if value.name == port.name)
    value.type.tensor_type.shape.dim[0].dim_value = batch
    # what was inferred for an open batch would contradict the fixed one
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    fixed = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    end = onnx_files.only_output(fixed, "the model")
    if not end.shape or None in end.shape:
        raise StageError(
            f"the shape of the model's output {end.name} does not follow from its input's",
            "use operations whose shapes do not depend on values",
        )
    return fixed
