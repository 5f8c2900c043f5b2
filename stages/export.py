"""Export the trained model to ONNX and prove that it computes what PyTorch computes.

Writes model.onnx (weights inside) and reference.safetensors: `input`, a few calibration samples,
float32 (N, *shape), and `output`, PyTorch's scores for them, float32 (N, classes); later stages compare
with these and need no PyTorch. For the same end, activations.safetensors holds what every layer takes and gives for
a few of the samples (see `stages.activations`), and layers.json which tensor of the ONNX model is which layer's
output (see `stages.layer_names`). What the exporter says about files and its own build is left out, so the
bytes are the same wherever the repository lies.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from stages import onnx_session
from stages.base import Inputs, Metrics, ModelReference, Params, Stage, StageError, emit_event, record_timing

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch
    from numpy.typing import NDArray
    from torch import nn

FIRST_DYNAMO_OPSET = 18
"""asked for an older one, the newer exporter of torch 2.13 warns and writes 18"""
LAST_TORCHSCRIPT_OPSET = 23
"""of the older exporter of torch 2.13"""
LAST_OPSET = 26
"""that onnxruntime 1.31 reads; the newer exporter of torch 2.13 writes two more"""
KEPT_METADATA = ("namespace", "pkg.torch.onnx.class_hierarchy", "pkg.torch.onnx.name_scopes")
"""from which module of the model a node comes; the rest is stack traces with file paths and the exporter's notes"""

KEEP_BATCH = (
    "let the model take the batch from x.shape[0] as it is, without int(), or write -1 for it",
    "set export.dynamic_batch to false",
)
"""remedies for a model that fixes its batch"""
LARGEST_FILE = 2**31 - 1
"""bytes of a protobuf message, which an ONNX file is; weights beside the file are not supported"""

TensorName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")]


class ExportParams(Params):
    """What the ONNX file is to look like."""

    model: ModelReference = Field(description="the nn.Module that was trained, as module:Class")
    opset: int = Field(default=18, ge=7, le=LAST_OPSET, description="version of the ONNX operator set")
    dynamic_batch: bool = Field(default=True, description="any number of samples per call; else exactly one")
    exporter: Literal["auto", "dynamo", "torchscript"] = Field(
        default="auto", description="PyTorch's newer or older exporter; auto takes the newer from opset 18 on"
    )
    input_name: TensorName = Field(default="input", description="name of the model's input")
    output_name: TensorName = Field(default="output", description="name of the model's output, the scores")
    tolerance: float = Field(
        default=1e-4, gt=0, allow_inf_nan=False, description="largest error a score may have, against PyTorch's"
    )
    samples: int = Field(default=8, ge=2, description="calibration samples the export is compared on")
    activation_samples: int = Field(
        default=4, ge=1, description="of these samples, for how many each layer's activations are recorded"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ExportParams:
        if self.exporter == "dynamo" and self.opset < FIRST_DYNAMO_OPSET:
            raise ValueError(
                f"the dynamo exporter writes opset {FIRST_DYNAMO_OPSET} or later, not {self.opset}: use exporter auto"
            )
        if self.exporter == "torchscript" and self.opset > LAST_TORCHSCRIPT_OPSET:
            raise ValueError(
                f"the torchscript exporter writes opset {LAST_TORCHSCRIPT_OPSET} at most, not {self.opset}: "
                "use exporter auto"
            )
        if self.input_name == self.output_name:
            raise ValueError(f"input_name and output_name are both '{self.input_name}'")
        return self


def run(params: ExportParams, inputs: Inputs, out: Path) -> Metrics:
    """Export, strip, write out padding that tools misread, and compare with PyTorch under ONNX Runtime.

    Raises StageError if the model cannot be built or exported, if another opset or a larger file than
    ONNX allows comes out, if a score differs by more than `tolerance`, or if the model mixes the samples of a batch.
    """
    import numpy as np
    import torch
    from safetensors.numpy import save

    from stages import activations, layer_names, model_faults, onnx_shapes
    from stages.dataset import read
    from stages.model_class import build_model
    from stages.onnx_form import OnnxForm
    from stages.weights import load_weights

    torch.set_num_threads(params.resources.cpu)
    samples, _ = read(inputs["data"], "calibration")
    if len(samples) < params.samples:
        raise StageError(
            f"there are {len(samples)} calibration samples, and {params.samples} are to be compared",
            "raise data.calibration_samples",
            "lower export.samples",
        )
    samples = np.ascontiguousarray(samples[: params.samples])

    model = build_model(params.model).eval()
    # gives lazy modules their shapes, before weights are loaded; the older exporter refuses tensors of inference mode
    with torch.no_grad():
        model(torch.from_numpy(samples[:2].copy()))
    load_weights(model, inputs["train"] / "model.safetensors", "the train stage's model.safetensors")
    # a copy of the samples for each call, since a model may write into its input
    model_faults.refuse(model, torch.from_numpy(samples.copy()), params.model.name)
    model_faults.refuse_infinite(model, torch.from_numpy(samples), params.model.name)
    with torch.inference_mode():
        expected = model(torch.from_numpy(samples.copy())).numpy()
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if size > LARGEST_FILE:
        raise StageError(f"the weights are {size / 2**30:.1f} GiB; an ONNX file holds at most 2", "use a smaller model")

    exporter = params.exporter
    if exporter == "auto":
        exporter = "dynamo" if params.opset >= FIRST_DYNAMO_OPSET else "torchscript"
    started = time.monotonic()
    proto = _exported(params, exporter, model, torch.from_numpy(samples[: 2 if params.dynamic_batch else 1].copy()))
    record_timing("export", time.monotonic() - started)
    strip(proto)
    onnx_shapes.state(proto)
    _check_opset(proto, params.opset, exporter)
    if params.dynamic_batch:
        _check_dynamic(proto, params)
    content = proto.SerializeToString(deterministic=True)

    error = _largest_error(content, params, exporter, samples, expected)
    (out / "model.onnx").write_bytes(content)
    few = samples[: params.activation_samples]
    sampled = activations.collect(model, torch.from_numpy(few.copy()))
    activations.save(out / "activations.safetensors", sampled)
    outputs = {layer.name: sampled.tensors.get(f"{layer.name}.out.0") for layer in sampled.layers}
    values = OnnxForm(proto, params.resources.cpu, "the exported model").values(few)
    given = {name: value.numpy() for name, value in outputs.items() if value is not None}
    layer_names.write(out / layer_names.FILE, layer_names.trace(proto, values, sampled.layers, given))
    if not error <= params.tolerance:  # also true of NaN
        raise StageError(
            f"the ONNX model's scores differ from PyTorch's by up to {error:.3g}, more than {params.tolerance:g}"
            + _where(out, params.resources.cpu),
            _other_exporter(params, exporter),
            "raise export.tolerance",
        )
    # not save_file, which would make the file unreadable to others, whatever the umask
    (out / "reference.safetensors").write_bytes(save({"input": samples, "output": np.ascontiguousarray(expected)}))
    return {
        "exporter": exporter,
        "opset": params.opset,
        "ir_version": proto.ir_version,
        "nodes": len(proto.graph.node),
        "layers_recorded": len(sampled.layers),
        "layers_left_out": len(sampled.left_out),
        # three digits: the rest depends on the processor
        "max_abs_error": float(f"{error:.3g}"),
    }


def _where(out: Path, threads: int) -> str:
    """At which layer the exported model leaves PyTorch's path, as far as that can be told."""
    from stages import hops, layer_names

    record = hops.recorded(out)
    if record is None:
        return ""
    steps = hops.float_steps(Inputs({"export": out}), threads)
    names = layer_names.of(out)
    pytorch = hops.Step("pytorch", record[0], "float")
    found = hops.compare(pytorch, steps[0], record[1], names, record[0].folded)
    hops.write(out, [found])
    return f"; {hops.said([found])}"


def _exported(params: ExportParams, exporter: str, model: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    from stages import exporter_errors, model_faults

    if exporter == "torchscript":
        # it follows the example's path, without a word of the others
        model_faults.refuse_reads(model, example, params.model.name)
    names: dict[str, Any] = {"input_names": [params.input_name], "output_names": [params.output_name]}
    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            return _written(params, exporter, model, example, names)
    except Exception as error:  # the exporters raise whatever the model's code or their own meets
        # what they print speaks of themselves and belongs in the log
        emit_event({"traceback": noise.getvalue() + traceback.format_exc()})
        model_faults.refuse_reads(model, example, params.model.name)
        other: exporter_errors.Exporter = "torchscript" if exporter == "dynamo" else "dynamo"
        opset = max(params.opset, FIRST_DYNAMO_OPSET)
        why, remedies = exporter_errors.explained(error, model, example, other, opset)
        raise StageError(
            f"the {exporter} exporter cannot export {params.model.name} to opset {params.opset}: {why}",
            *remedies,
        ) from error


def _written(
    params: ExportParams, exporter: str, model: nn.Module, example: torch.Tensor, names: dict[str, Any]
) -> onnx.ModelProto:
    import onnx
    import torch

    if exporter == "dynamo":
        batch = ({0: torch.export.Dim("batch")},) if params.dynamic_batch else None
        program = torch.onnx.export(
            model,
            (example.clone(),),
            dynamo=True,
            opset_version=params.opset,
            dynamic_shapes=batch,
            verbose=False,
            **names,
        )
        return program.model_proto
    axes = {name: {0: "batch"} for name in (params.input_name, params.output_name)} if params.dynamic_batch else None
    buffer = io.BytesIO()
    torch.onnx.export(
        model, (example.clone(),), buffer, dynamo=False, opset_version=params.opset, dynamic_axes=axes, **names
    )
    return onnx.load_from_string(buffer.getvalue())


def _other_exporter(params: ExportParams, exporter: str) -> str:
    if exporter == "dynamo":
        return "set export.exporter to torchscript"
    if params.opset >= FIRST_DYNAMO_OPSET:
        return "set export.exporter to dynamo"
    return f"set export.opset to {FIRST_DYNAMO_OPSET} or later, which the other exporter writes"


def strip(proto: onnx.ModelProto) -> None:
    """Remove, in place, doc strings, all metadata but KEPT_METADATA, and the build in the producer's version."""
    graph = proto.graph
    proto.producer_version = proto.producer_version.partition("+")[0]
    values = [*graph.input, *graph.output, *graph.value_info, *graph.initializer]
    nodes = [*graph.node, *(node for function in proto.functions for node in function.node)]
    for part in [proto, graph, *proto.functions, *values, *nodes]:
        part.ClearField("doc_string")
        kept = sorted((entry.key, entry.value) for entry in part.metadata_props if entry.key in KEPT_METADATA)
        part.ClearField("metadata_props")
        for key, value in kept:
            part.metadata_props.add(key=key, value=value)


def _check_opset(proto: onnx.ModelProto, wanted: int, exporter: str) -> None:
    found = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if found != [wanted]:
        written = ", ".join(str(version) for version in found) or "none"
        raise StageError(
            f"opset {wanted} was asked for, but the {exporter} exporter wrote {written}",
            f"set export.opset to {written}",
        )


def _check_dynamic(proto: onnx.ModelProto, params: ExportParams) -> None:
    """The newer exporter, told that the batch is dynamic, quietly fixes it where the model's code needs a number."""
    read = [value for value in proto.graph.input if value.name == params.input_name]
    if not read:
        raise StageError(
            f"the exported model of {params.model.name} does not read its input",
            "compute the scores from the input with PyTorch's functions alone, not with NumPy's",
        )
    for value in proto.graph.output[0], read[0]:
        batch = value.type.tensor_type.shape.dim[0]
        if not batch.dim_param:
            raise StageError(
                f"{params.model.name} was exported with the batch size of '{value.name}' fixed to {batch.dim_value}",
                *KEEP_BATCH,
            )


def _largest_error(
    content: bytes, params: ExportParams, exporter: str, samples: NDArray[np.float32], expected: NDArray[np.float32]
) -> float:
    """Over all samples at once and, as batches of other sizes, one by one; or just one by one for a fixed batch."""
    import numpy as np

    from stages.foreign import first_line

    try:
        session = onnx_session.start(content, params.resources.cpu)
        found = [np.concatenate([session.run(None, {params.input_name: sample[None]})[0] for sample in samples])]
        if params.dynamic_batch:
            found.append(session.run(None, {params.input_name: samples})[0])
    except Exception as error:  # onnxruntime's errors share no base of their own
        node = re.search(r"running (\w+) node\. Name:'([^']*)'", str(error))
        if params.dynamic_batch and node is not None:
            raise StageError(
                f"{params.model.name} was exported for batches of 2 samples only: {node[1]} '{node[2]}' takes no other",
                *KEEP_BATCH,
            ) from error
        raise StageError(
            f"ONNX Runtime cannot run the exported model: {first_line(error)}", _other_exporter(params, exporter)
        ) from error
    for scores in found:
        if scores.shape != expected.shape:
            raise StageError(
                f"the exported model gives {scores.shape}, PyTorch {expected.shape}", _other_exporter(params, exporter)
            )
    return float(max(np.abs(scores - expected).max() for scores in found))


STAGE = Stage(params=ExportParams, inputs=("data", "train"), run=run)
