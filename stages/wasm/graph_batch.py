"""Fix the batch of a model, and say what its input and output then are."""

from __future__ import annotations

from stages import onnx_files
from stages.base import StageError


def fix(model: onnx_files.Model, batch: int) -> onnx_files.Model:
    """A copy whose input takes `batch` samples, with the shapes of all tensors inferred anew, the output's by a run.

    Raises StageError if the model has another batch of its own, or an axis other than the first is open, and if
    onnxruntime cannot run it.
    """
    import numpy as np
    import onnx

    port = onnx_files.only_input(model, "the model")
    if not port.shape or port.shape[0] not in (None, batch):
        own = port.shape[0] if port.shape else "no batch of"
        raise StageError(
            f"the model takes {own} samples at once, and emit.batch is {batch}",
            "set emit.batch to the model's own, or export.dynamic_batch to true",
        )
    if None in port.shape[1:]:
        raise StageError(f"the model's input {port.name} has an open axis: {port.shape}", "export it with fixed axes")
    fixed = type(model)()
    fixed.CopyFrom(model)
    value = next(value for value in fixed.graph.input if value.name == port.name)
    value.type.tensor_type.shape.dim[0].dim_value = batch
    # what was inferred for an open batch would contradict the fixed one
    del fixed.graph.value_info[:]
    output = fixed.graph.output[0]
    output.type.tensor_type.ClearField("shape")
    fixed = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    output = fixed.graph.output[0]
    # the length that counts is that of the runtime the result is compared with
    zeros = np.zeros([batch, *(length or 0 for length in port.shape[1:])], np.float32)
    made = onnx_files.Session(fixed, 1, "the model with its batch fixed").run(zeros)
    output.type.tensor_type.shape.CopyFrom(
        onnx.helper.make_tensor_type_proto(onnx_files.FLOAT, made.shape).tensor_type.shape
    )
    return fixed
