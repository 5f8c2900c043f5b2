"""Take a model from an ONNX file of the repository, in place of training and exporting one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, RepositoryPath, Stage, StageError, progress
from recast.stages.common import reference, samples
from recast.stages.common.onnx_models import foreign_file, onnx_bounds, onnx_files, onnx_shapes
from recast.stages.common.samples import Taken
from recast.stages.common.untrusted import memory_limit, time_limit
from recast.stages.tasks.task import Task, TaskReference
from recast.stages.trunk.faults import batch_mixing
from recast.stages.trunk.rewrites import channel_axis, one_sample

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract, Input

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
REFERENCE_SAMPLES = 64


class ImportParams(Params):
    """Which file to take."""

    task: TaskReference = Field(default=TaskReference(), description="what the model is for")
    path: RepositoryPath = Field(
        description="the ONNX file; or, if its weights lie in files of their own, the folder that holds it and them"
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="what the ONNX file must be, in lower-case hexadecimal"
    )
    timeout_seconds: int = Field(default=600, gt=0, description="after which reading and running the file is stopped")


def run(params: ImportParams, inputs: Inputs, out: Path) -> Metrics:
    """As `_imported`, within the time and the memory that a file of somebody else's may take."""
    remedy = "name another model as import.path"
    with (
        time_limit(
            params.timeout_seconds, f"reading and running {params.path}", "raise import.timeout_seconds", remedy
        ),
        memory_limit(params.path, "close other programs", remedy),
    ):
        try:
            return _imported(params, inputs, out)
        except UnicodeDecodeError as error:  # what reads names says it at the first use
            raise StageError(
                f"{params.path} holds a name that is not UTF-8: it is damaged", "export it again"
            ) from error


def _imported(params: ImportParams, inputs: Inputs, out: Path) -> Metrics:
    """The file -> model.onnx (weights inside) and reference.safetensors, as `export` would write them.

    The reference holds the first calibration samples as the model takes them (N, *shape), and its outputs (N, ...),
    see `reference`. Padding whose shapes tools infer otherwise than onnxruntime runs it is written
    out (`onnx_shapes`). Raises StageError for a file that is damaged, does not fit the data, or that
    onnxruntime cannot run, and for a model that mixes the samples of a batch.
    """
    import numpy as np

    from recast.stages.common import dataset

    path = _model_file(params, inputs.files["path"])
    model = foreign_file.read(path, params.path)
    onnx_bounds.refuse_large_tensors(model, params.path)
    contract = dataset.read_contract(inputs["data"])
    for port, one in matched(model, contract, params.path):
        if channel_axis.lacks_channel(port, one.shape):
            of = f" as '{port.name}'" if len(contract.inputs) > 1 else ""
            progress(
                f"{params.path} takes samples{of} without an axis for their one channel: one is dropped in front of it"
            )
            channel_axis.drop_in_front(model, port, params.path)
    task = params.task.load()
    few = dataset.read_one_by_one(inputs["data"], "calibration")[0][:REFERENCE_SAMPLES]
    threads = params.resources.cpu
    if task.takes_any:
        pairs = matched(model, contract, params.path)
        # it is run to see, for which its samples must fit
        if any(one_sample.takes_whole(port, one.shape) for port, one in pairs):
            check_types(pairs, contract, params.path)
        else:
            check_inputs(model, contract, params.path)
        if one_sample.is_needed(model, pairs, few, threads, params.path):
            progress(f"{params.path} has no axis for samples: it is taken as a model of one at a time")
            one_sample.make(model, pairs, few, threads, params.path)
    check_inputs(model, contract, params.path)
    stated = onnx_shapes.state(model)
    if stated:
        progress(f"explicit padding for {', '.join(stated)}")
    session = _load(model, params)

    made = session.run(few)
    test, truth = dataset.read_one_by_one(inputs["data"], "test")
    _check_outputs(task, contract, made, len(few), () if truth is None else truth.shape[1:], params.path)
    if not all(np.isfinite(one).all() for one in samples.parts(made).values()):
        raise StageError(
            f"{params.path} gives NaN or infinity for the calibration samples",
            "set data.mean and data.std as in training",
            "name another model as import.path",
        )
    try:
        batch_mixing.check_onnx(model, session, few, params.path, threads)
    except StageError:
        if not task.takes_any:
            raise
        progress(f"{params.path} mixes the samples of a batch: it is taken as a model of one at a time")
        one_sample.make(model, matched(model, contract, params.path), few, threads, params.path)
        session = _load(model, params)
        made = session.run(few)

    scorer = task.scored(contract, inputs.project)
    for done, outputs in session.batches(test):
        batch = slice(done - len(outputs), done)
        scorer.update(outputs, None if truth is None else truth[batch], test[batch])
        progress("test", done, len(test))

    onnx_files.write_model(model, out / "model.onnx")
    given = samples.of(samples.named(few, session.inputs, params.path))
    reference.write(out / reference.FILE, given, made)
    return {
        "nodes": len(model.graph.node),
        "opset": onnx_files.opset(model),
        "ir_version": int(model.ir_version),
        "padding_written_out": len(stated),
        **scorer.metrics(),
    }


def _check_outputs(
    task: Task, contract: Contract, outputs: Taken, count: int, truth: tuple[int, ...], path: str
) -> None:
    """StageError for outputs (N, ...) that are not one for each sample, or none that the task knows."""
    for name, one in samples.parts(outputs).items():
        of = f" as '{name}'" if name else ""
        if one.dtype.kind != "f" and not task.takes_any:
            raise StageError(
                f"{path} gives {one.dtype} outputs{of}",
                "export it without its last step: outputs must be floats",
                "set task to none at the top of the recipe: outputs are compared, and may be whole numbers",
            )
        if len(one) != count:
            raise StageError(
                f"{path} gives outputs of shape {one.shape}{of} for {count} samples",
                f"export it with the batch as the first axis of its output{'s' if name else ''}",
            )
    judged = task.judged(outputs)
    needed = task.misfit(judged.shape, contract, truth)
    if needed:
        raise StageError(
            f"{path} gives outputs of shape {judged.shape} for {count} samples; {needed}",
            "name a model made for this dataset as import.path",
            "say what the model is for, at the top of the recipe: 'task: none' takes outputs of any shape",
            "say at the top of the recipe which output the task reads: 'task: {name: …, output: …}'"
            if isinstance(outputs, samples.Samples)
            else "",
        )


def _model_file(params: ImportParams, path: Path) -> Path:
    """The file itself, or the only ONNX file of a folder."""
    named = path.is_dir()
    if named:
        found = sorted(path.glob("*.onnx"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise StageError(
                f"{params.path} must hold exactly one .onnx file, not {len(found)} ({names})",
                "put the model and its weights in a folder of their own and set import.path to that folder",
            )
        path = found[0]
    if path.is_symlink():
        raise StageError(f"{params.path} is a symbolic link", "name the file itself, inside the repository")
    if not path.is_file():
        raise StageError(f"there is no file {params.path}", "set import.path to an ONNX file in the repository")
    _check_digest(params, path)
    if not named and onnx_files.has_external_data(_parsed(path)):
        # DVC tracks what a param names: a weights file beside it could change unnoticed
        raise StageError(
            f"{params.path} keeps weights in other files",
            "put the model and its weights in a folder of their own and set import.path to that folder",
        )
    return path


def _parsed(path: Path) -> onnx_files.Model:
    """The model as it stands in the file; an empty one if it does not parse, which read_model reports."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        return onnx.ModelProto()
    return model


def _check_digest(params: ImportParams, path: Path) -> None:
    if params.sha256 is None:
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != params.sha256:
        raise StageError(
            f"{params.path} is not the file the recipe names: its sha256 is {digest}, not {params.sha256}",
            "restore the file, or set import.sha256 to the new value",
        )


def matched(model: onnx_files.Model, contract: Contract, what: str) -> list[tuple[onnx_files.Port, Input]]:
    """Each input of the model, and of the data: by name, or where none is named alike, by their order."""
    ports = {port.name: port for port in onnx_files.inputs_of(model)}
    if len(ports) != len(contract.inputs):
        takes = ", ".join(ports) or "none"
        raise StageError(
            f"{what} has {len(ports)} input{'' if len(ports) == 1 else 's'} ({takes}), and the data have "
            f"{len(contract.inputs)} ({', '.join(contract.names)})",
            f"name under data.inputs the arrays of data.path that are the model's inputs: {takes}"
            if contract.dataset == "npz"
            else "give the model one input",
        )
    called = samples.named_as(contract.names, list(ports), what)
    if len(ports) > 1 and not set(called) & set(called.values()):
        progress(f"{what}: " + ", ".join(f"{tensor} is given {name}" for name, tensor in called.items()))
    return [(ports[called[one.name]], one) for one in contract.inputs]


def check_inputs(model: onnx_files.Model, contract: Contract, what: str) -> None:
    """StageError unless the model takes samples of the data's type and shape."""
    pairs = matched(model, contract, what)
    check_types(pairs, contract, what)
    for port, one in pairs:
        _check_shape(port, one, contract, what)


def check_types(pairs: Sequence[tuple[onnx_files.Port, Input]], contract: Contract, what: str) -> None:
    """StageError for an input of another type than the data's."""
    for port, one in pairs:
        wanted = onnx_files.dtype_of(port)
        if wanted == one.dtype:
            continue
        several = len(contract.inputs) > 1
        param = f"data.inputs.{one.name}" if several else "data"
        can_be = wanted == "float16" or (wanted == one.stored_dtype == "uint8") or (wanted == "float32" and several)
        raise StageError(
            f"input {port.name!r} of {what} is {wanted}, and the data gives {one.dtype}"
            f"{f' as {one.name}' if several else ''}",
            "export it with a float32 input, cast inside the model" if one.is_float else "",
            f"set {param}.dtype to {wanted}" if can_be else "",
            f"store the samples at data.path as {wanted}" if contract.dataset == "npz" else "",
        )


def _check_shape(port: onnx_files.Port, one: Input, contract: Contract, what: str) -> None:
    param = f"data.inputs.{one.name}" if len(contract.inputs) > 1 else "data"
    array = f" as {one.name}" if len(contract.inputs) > 1 else ""
    sample = port.shape[1:]
    if not _fits(sample, one.shape):
        shape = ", ".join("?" if axis is None else str(axis) for axis in sample)
        raise StageError(
            f"input {port.name!r} of {what} takes samples of shape ({shape}), "
            f"but {contract.dataset} has {one.shape}{array}",
            *_fitting(sample, one.shape, contract.dataset, param),
            "name a model made for this dataset as import.path",
        )


def _fitting(sample: tuple[int | None, ...], own: tuple[int, ...], dataset: str, param: str) -> list[str]:
    """What makes samples of shape `own` into ones that the model takes, as far as the data stage can."""
    remedies = list[str]()
    images = len(sample) == len(own) == 3
    if images and dataset == "npz" and _fits(sample, (own[2], *own[:2])):
        return [f"set {param}.layout to nhwc, since the file has channels last"]
    if images and sample[0] in (None, own[0], 1):
        if sample[0] == 1 and own[0] == 3:
            remedies.append(f"set {param}.grayscale to true")
        if not _fits(sample[1:], own[1:]) and None not in sample[1:]:
            remedies.append(f"set {param}.resize to [{sample[1]}, {sample[2]}]")
        return [" and ".join(remedies)]
    if dataset == "npz":
        shape = ", ".join("..." if axis is None else str(axis) for axis in ("N", *sample))
        return [f"save the samples at data.path in the shape ({shape})"]
    return []


def _fits(axes: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(axes) == len(shape) and all(
        axis is None or axis == length for axis, length in zip(axes, shape, strict=True)
    )


def _load(model: onnx_files.Model, params: ImportParams) -> onnx_files.Session:
    own = {(function.domain, function.name) for function in model.functions}
    custom = sorted(
        {
            f"{node.domain}.{node.op_type}"
            for node in model.graph.node
            if node.domain not in STANDARD_DOMAINS and (node.domain, node.op_type) not in own
        }
    )
    try:
        return onnx_files.Session(model, params.resources.cpu, params.path)
    except StageError as error:
        if not custom:
            raise
        raise StageError(
            f"{params.path} uses operators that neither ONNX nor onnxruntime has: {', '.join(custom)}",
            "export the model with standard operators",
        ) from error


STAGE = Stage(params=ImportParams, inputs=("data",), run=run, stands_for="export", in_summary=True)
