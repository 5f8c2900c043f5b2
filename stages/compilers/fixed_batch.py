"""What our compiler is given of a model: its batch fixed, float16 as float32, and its outputs' shapes as they are."""

from __future__ import annotations

from typing import Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.compilers import widened


def fix(model: onnx_files.Model, batch: int) -> onnx_files.Model:
    """A copy whose inputs take `batch` samples, with the shapes of all tensors inferred anew, the outputs' by a run.

    It takes, gives and computes float32 where the model has float16: see `widened`. Raises StageError if the model has
    another batch of its own, or an axis other than the first is open, and if onnxruntime cannot run it.
    """
    import onnx

    ports = onnx_files.inputs_of(model)
    for port in ports:
        if not port.shape or port.shape[0] not in (None, batch):
            own = port.shape[0] if port.shape else "no batch of"
            raise StageError(
                f"the model takes {own} samples at once, and emit.batch is {batch}",
                "set emit.batch to the model's own",
                "set export.dynamic_batch to true",
            )
        if None in port.shape[1:]:
            raise StageError(
                f"the model's input {port.name} has an open axis: {port.shape}", "export it with fixed axes"
            )
    fixed = widened.widen(model)
    for value in fixed.graph.input:
        if value.name in {port.name for port in ports}:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    # what was inferred for an open batch would contradict the fixed one
    del fixed.graph.value_info[:]
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    fixed = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    made = _run_on_zeros(fixed)
    for output in fixed.graph.output:
        value = made[output.name]
        element = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        output.type.CopyFrom(onnx.helper.make_tensor_type_proto(element, value.shape))
        if not value.shape or value.shape[0] != batch:
            raise StageError(
                f"the model's output {output.name} has shape {value.shape} for {batch} samples",
                "give the model outputs whose first axis is the batch",
            )
    return fixed


def _run_on_zeros(model: onnx_files.Model) -> dict[str, Any]:
    """Every output by its name: the lengths that count are those of the runtime the result is compared with."""
    import numpy as np

    from recast.stages.common import samples

    zeros = samples.of({
        port.name: np.zeros([length or 0 for length in port.shape], onnx_files.dtype_of(port))
        for port in onnx_files.inputs_of(model)
    })  # fmt: skip
    session = onnx_files.Session(model, 1, "the model with its batch fixed")
    return samples.named(session.run(zeros), session.outputs)
