"""Export the trained model to ONNX and prove that it computes what PyTorch computes.

Writes model.onnx (weights inside) and reference.safetensors: a few calibration samples, as the model takes them
(N, *shape), and PyTorch's outputs for them (N, ...), see `reference`; later stages compare with these and need no
PyTorch. For the same end, activations.safetensors holds what every layer takes and gives for
a few of the samples (see `activations`), and layers.json which tensor of the ONNX model is which layer's
output (see `layer_names`). What the exporter says about files and its own build is left out, so the
bytes are the same wherever the repository lies.
"""

from __future__ import annotations

import contextlib
import io
import re
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from recast.stages.base import Inputs, Metrics, ModelReference, Params, Stage, StageError, emit_event, record_timing
from recast.stages.common import reference, samples
from recast.stages.common.onnx_models import onnx_session
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    import onnx
    from torch import nn

INPUT = "input"
"""what an only input is called, where the recipe does not say"""
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
    input_names: tuple[TensorName, ...] = Field(
        default=(),
        description="names of the model's inputs, in the order of the data; unset: `input`, or of several the data's",
    )
    output_names: tuple[TensorName, ...] = Field(
        default=(),
        description="names of the model's outputs, in the order it returns them; unset: `output`, or of several the "
        "keys of the dict that it returns, or output_0, output_1, ...",
    )
    tolerance: float = Field(
        default=1e-4,
        gt=0,
        allow_inf_nan=False,
        description="largest error an output may have, against PyTorch's, as a fraction of the largest output",
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
        names = (*self.input_names, *self.output_names)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"input_names and output_names hold '{twice}' twice")
        return self


def run(params: ExportParams, inputs: Inputs, out: Path) -> Metrics:
    """Export, strip, write out padding that tools misread, and compare with PyTorch under ONNX Runtime.

    Raises StageError if the model cannot be built or exported, if another opset or a larger file than
    ONNX allows comes out, if an output differs by more than `tolerance` of the largest, or if the model mixes the
    samples of a batch.
    """
    import numpy as np
    import torch

    from recast.stages.common import dataset
    from recast.stages.common.onnx_models import onnx_shapes
    from recast.stages.common.torch_models import signature
    from recast.stages.common.torch_models.model_class import build_model
    from recast.stages.common.torch_models.weights import load_weights
    from recast.stages.parity import activations, layer_names
    from recast.stages.parity.forms.onnx_form import OnnxForm
    from recast.stages.trunk.faults import model_faults

    torch.set_num_threads(params.resources.cpu)
    taken, _ = dataset.read_one_by_one(inputs["data"], "calibration")
    if len(taken) < params.samples:
        raise StageError(
            f"there are {len(taken)} calibration samples, and {params.samples} are to be compared",
            "raise data.calibration_samples",
            "lower export.samples",
        )
    taken = samples.each(taken[: params.samples], np.ascontiguousarray)

    model = build_model(params.model, inputs.project).eval()
    # gives lazy modules their shapes, before weights are loaded; the older exporter refuses tensors of inference mode
    with torch.no_grad():
        signature.call(model, signature.tensors(taken[:2]))
    load_weights(model, inputs["train"] / "model.safetensors", "the train stage's model.safetensors")
    model_faults.refuse(model, signature.tensors(taken), params.model.name)
    model_faults.refuse_infinite(model, signature.tensors(taken), params.model.name)
    with torch.inference_mode():
        made = signature.run(model, signature.tensors(taken))
    names = _names(params, model, dataset.read_contract(inputs["data"]).names, list(samples.parts(made)))
    # from here on by the names that they have in the ONNX model, its inputs in the order of forward
    given = samples.of(dict(zip(names.inputs, samples.named(taken, names.order).values(), strict=True)))
    expected = samples.of(
        {name: value.numpy() for name, value in zip(names.outputs, samples.parts(made).values(), strict=True)}
    )
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if size > LARGEST_FILE:
        raise StageError(f"the weights are {size / 2**30:.1f} GiB; an ONNX file holds at most 2", "use a smaller model")

    exporter = params.exporter
    if exporter == "auto":
        exporter = "dynamo" if params.opset >= FIRST_DYNAMO_OPSET else "torchscript"
    started = time.monotonic()
    example = signature.tensors(taken[: 2 if params.dynamic_batch else 1])
    proto = to_onnx(params, exporter, model, example, (names.inputs, names.outputs))
    record_timing("export", time.monotonic() - started)
    strip(proto)
    onnx_shapes.state(proto)
    _check_opset(proto, params.opset, exporter)
    if params.dynamic_batch:
        _check_dynamic(proto, params, names)
    content = proto.SerializeToString(deterministic=True)

    errors = _errors(content, params, exporter, given, expected)
    (out / "model.onnx").write_bytes(content)
    reference.write(out / reference.FILE, given, expected)
    few = params.activation_samples
    sampled = activations.collect(model, signature.arguments(model, signature.tensors(taken[:few])))
    activations.save(out / "activations.safetensors", sampled)
    outputs = {layer.name: sampled.tensors.get(f"{layer.name}.out.0") for layer in sampled.layers}
    values = OnnxForm(proto, params.resources.cpu, "the exported model").values(given[:few])
    seen = {name: value.numpy() for name, value in outputs.items() if value is not None}
    layer_names.write(out / layer_names.FILE, layer_names.trace(proto, values, sampled.layers, seen))
    for name, error in errors.items():
        limit = params.tolerance * (float(np.abs(samples.named(expected, names.outputs)[name]).max()) or 1.0)
        if not error <= limit:  # also true of NaN
            which = f"'{name}' differs" if len(errors) > 1 else "differ"
            raise StageError(
                f"the ONNX model's output{'' if len(errors) > 1 else 's'} {which} from PyTorch's by up to {error:.3g}, "
                f"more than {limit:.3g}" + _where(out, params.resources.cpu),
                _other_exporter(params, exporter),
                "raise export.tolerance",
            )
    return {
        "exporter": exporter,
        "opset": params.opset,
        "ir_version": proto.ir_version,
        "nodes": len(proto.graph.node),
        "layers_recorded": len(sampled.layers),
        "layers_left_out": len(sampled.left_out),
        # three digits: the rest depends on the processor
        "max_abs_error": float(f"{max(errors.values()):.3g}"),
    }


class _Names(NamedTuple):
    """What the ONNX model's inputs and outputs are called."""

    order: list[str]
    """the data's names of the inputs, in the order of forward"""
    inputs: list[str]
    """the ONNX model's, in the same order"""
    outputs: list[str]


def _names(params: ExportParams, model: nn.Module, data: list[str], made: list[str]) -> _Names:
    """`data`: the data's names of the inputs; `made`: the model's own of its outputs. StageError if they do not fit."""
    from recast.stages.common.torch_models import signature

    for param, given, found in (
        ("input_names", params.input_names, data),
        ("output_names", params.output_names, made),
    ):
        if given and len(given) != len(found):
            kind = param.partition("_")[0]
            raise StageError(
                f"export.{param} holds {len(given)}, and {params.model.name} has {len(found)} {kind}"
                f"{'s' if len(found) > 1 else ''}" + (f" ({', '.join(found)})" if len(found) > 1 else ""),
                f"name each {kind} once in export.{param}, or drop it",
            )
    own = dict(zip(data, params.input_names or (data if len(data) > 1 else [INPUT]), strict=True))
    ordered = signature.order(model, data)
    outputs = list(params.output_names or (made if len(made) > 1 else [signature.OUTPUT]))
    inputs = [own[name] for name in ordered]
    both = sorted(set(inputs) & set(outputs))
    if both:
        raise StageError(
            f"an input and an output of {params.model.name} are both called '{both[0]}'",
            "name the outputs otherwise in export.output_names",
        )
    return _Names(ordered, inputs, outputs)


def _where(out: Path, threads: int) -> str:
    """At which layer the exported model leaves PyTorch's path, as far as that can be told."""
    from recast.stages.common.onnx_models import onnx_files
    from recast.stages.parity import comparison, layer_names, report
    from recast.stages.parity.forms import pytorch_form
    from recast.stages.parity.forms.form import NamedForm
    from recast.stages.parity.forms.onnx_form import OnnxForm

    record = pytorch_form.read(out)
    if record is None:
        return ""
    pytorch = NamedForm("pytorch", record[0], "float")
    model = onnx_files.read_model(out / "model.onnx")
    exported = NamedForm("exported", OnnxForm(model, threads, "the exported model"), "float")
    found = comparison.compare(pytorch, exported, record[1], layer_names.of(out), record[0].folded)
    report.write(out, [found])
    return f"; {report.said([found])}"


def to_onnx(
    params: ExportParams,
    exporter: str,
    model: nn.Module,
    example: Any,
    names: tuple[Sequence[str], Sequence[str]] = ((INPUT,), ("output",)),
) -> onnx.ModelProto:
    """The model as the exporter writes it, which has seen `example`, samples of every input.

    `names`: of inputs in the order of forward, and of outputs.
    """
    from recast.stages.trunk.faults import exporter_errors, model_faults

    if exporter == "torchscript":
        # it follows the example's path, without a word of the others
        model_faults.refuse_reads(model, example, params.model.name)
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
    params: ExportParams, exporter: str, model: nn.Module, example: Any, names: tuple[Sequence[str], Sequence[str]]
) -> onnx.ModelProto:
    import onnx
    import torch

    from recast.stages.common.torch_models import signature

    taken = tuple(one.clone() for one in signature.arguments(model, example))
    called: dict[str, Any] = {"input_names": list(names[0]), "output_names": list(names[1])}
    if exporter == "dynamo":
        batch = torch.export.Dim("batch")
        program = torch.onnx.export(
            model,
            taken,
            dynamo=True,
            opset_version=params.opset,
            dynamic_shapes=tuple({0: batch} for _ in taken) if params.dynamic_batch else None,
            verbose=False,
            **called,
        )
        return program.model_proto
    axes = {name: {0: "batch"} for part in names for name in part} if params.dynamic_batch else None
    buffer = io.BytesIO()
    torch.onnx.export(model, taken, buffer, dynamo=False, opset_version=params.opset, dynamic_axes=axes, **called)
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


def _check_dynamic(proto: onnx.ModelProto, params: ExportParams, names: _Names) -> None:
    """The newer exporter, told that the batch is dynamic, quietly fixes it where the model's code needs a number."""
    read = {value.name: value for value in proto.graph.input}
    for name, of in zip(names.inputs, names.order, strict=True):
        if name not in read:
            one = "its input" if len(names.inputs) == 1 else f"its input '{of}'"
            raise StageError(
                f"the exported model of {params.model.name} does not read {one}",
                "compute the scores from the input with PyTorch's functions alone, not with NumPy's",
                f"drop {of} from data.inputs" if len(names.inputs) > 1 else "",
            )
    for value in (*proto.graph.output, *(read[name] for name in names.inputs)):
        dims = value.type.tensor_type.shape.dim
        if not len(dims) or not dims[0].dim_param:
            raise StageError(
                f"{params.model.name} was exported with the batch size of '{value.name}' fixed to "
                f"{dims[0].dim_value if len(dims) else 'none'}",
                *KEEP_BATCH,
            )


def _errors(content: bytes, params: ExportParams, exporter: str, given: Taken, expected: Taken) -> dict[str, float]:
    """The largest error of each output: over all samples at once and, as batches of other sizes, one by one.

    Or just one by one for a fixed batch.
    """
    import numpy as np

    from recast.stages.common.vendor_errors import first_line

    try:
        session = onnx_session.start(content, params.resources.cpu)
        names = [value.name for value in session.get_outputs()]
        feeds = samples.named(given, [value.name for value in session.get_inputs()])
        each = [
            session.run(None, {name: value[index : index + 1] for name, value in feeds.items()})
            for index in range(len(given))
        ]
        found = [[np.concatenate(values) for values in zip(*each, strict=True)]]
        if params.dynamic_batch:
            found.append(session.run(None, feeds))
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
    errors: dict[str, float] = {}
    wanted = samples.named(expected, names)
    for values in found:
        for name, scores in zip(names, values, strict=True):
            if scores.shape != wanted[name].shape:
                raise StageError(
                    f"the exported model gives {scores.shape}{f' as {name}' if len(names) > 1 else ''}, PyTorch "
                    f"{wanted[name].shape}",
                    _other_exporter(params, exporter),
                )
            largest = float(np.abs(scores - wanted[name]).max())
            # NaN counts as the largest there is
            errors[name] = max(errors.get(name, 0.0), largest) if largest == largest else largest
    return errors


STAGE = Stage(params=ExportParams, inputs=("data", "train"), run=run)
