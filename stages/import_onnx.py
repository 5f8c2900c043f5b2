"""Take a model from an ONNX file of the repository, in place of training and exporting one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from stages import batch_mixing, onnx_files, onnx_shapes, without_channel
from stages.base import Inputs, Metrics, Params, RepositoryPath, Stage, StageError, progress

if TYPE_CHECKING:
    from stages.dataset import Contract

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
REFERENCE_SAMPLES = 64


class ImportParams(Params):
    """Which file to take."""

    path: RepositoryPath = Field(
        description="the ONNX file; or, if its weights lie in files of their own, the folder that holds it and them"
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="what the ONNX file must be, in lower-case hexadecimal"
    )


def run(params: ImportParams, inputs: Inputs, out: Path) -> Metrics:
    """The file -> model.onnx (weights inside) and reference.safetensors, as `export` would write them.

    The reference holds `input` (N, *shape), the first calibration samples as the model takes them, and
    `output` (N, classes), both float32. Padding whose shapes tools infer otherwise than onnxruntime runs it is written
    out (`stages.onnx_shapes`). Raises StageError for a file that is damaged, does not fit the data, or that
    onnxruntime cannot run, and for a model that mixes the samples of a batch.
    """
    import numpy as np
    from safetensors.numpy import save_file

    from stages import dataset

    path = _model_file(params, inputs.files["path"])
    model = onnx_files.read_model(path, params.path, onnx_files.EXPORT_AGAIN)
    contract = dataset.read_contract(inputs["data"])
    if without_channel.lacks_channel(onnx_files.only_input(model, params.path), contract.shape):
        progress(f"{params.path} takes samples without an axis for their one channel: one is dropped in front of it")
        without_channel.drop_in_front(model, params.path)
    _check_input(model, contract, params.path)
    onnx_files.only_output(model, params.path)
    stated = onnx_shapes.state(model)
    if stated:
        progress(f"explicit padding for {', '.join(stated)}")
    session = _load(model, params)

    samples, _ = dataset.read(inputs["data"], "calibration")
    samples = samples[:REFERENCE_SAMPLES]
    reference = session.run(samples)
    if reference.shape != (len(samples), len(contract.classes)):
        raise StageError(
            f"{params.path} gives outputs of shape {reference.shape} for {len(samples)} samples; "
            f"{contract.dataset} needs ({len(samples)}, {len(contract.classes)}), one score per class",
            "name a classifier of this dataset's classes as import.path",
        )
    if not np.isfinite(reference).all():
        raise StageError(
            f"{params.path} gives NaN or infinity for the calibration samples",
            "set data.mean and data.std as in training",
            "name another model as import.path",
        )
    batch_mixing.check_onnx(model, session, samples, params.path, params.resources.cpu)

    test, labels = dataset.read(inputs["data"], "test")
    right = 0
    for done, scores in session.batches(test):
        right += int((scores.argmax(axis=1) == labels[done - len(scores) : done]).sum())
        progress("test", done, len(test))

    onnx_files.write_model(model, out / "model.onnx")
    save_file({"input": samples, "output": np.ascontiguousarray(reference)}, out / "reference.safetensors")
    return {
        "nodes": len(model.graph.node),
        "opset": onnx_files.opset(model),
        "ir_version": int(model.ir_version),
        "padding_written_out": len(stated),
        "accuracy": right / len(test),
    }


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


def _check_input(model: onnx_files.Model, contract: Contract, what: str) -> None:
    port = onnx_files.only_input(model, what)
    if port.element_type != onnx_files.FLOAT:
        raise StageError(
            f"input {port.name!r} of {what} is not float32", "export it with a float32 input, cast inside the model"
        )
    sample = port.shape[1:]
    if not _fits(sample, contract.shape):
        shape = ", ".join("?" if axis is None else str(axis) for axis in sample)
        raise StageError(
            f"input {port.name!r} of {what} takes samples of shape ({shape}), "
            f"but {contract.dataset} has {contract.shape}",
            *_fitting(sample, contract),
            "name a model made for this dataset as import.path",
        )


def _fitting(sample: tuple[int | None, ...], contract: Contract) -> list[str]:
    """What makes samples of the contract's shape into ones that the model takes, as far as the data stage can."""
    own, remedies = contract.shape, list[str]()
    images = len(sample) == len(own) == 3
    if images and contract.dataset == "npz" and _fits(sample, (own[2], *own[:2])):
        return ["set data.layout to nhwc, since the file has channels last"]
    if images and sample[0] in (None, own[0], 1):
        if sample[0] == 1 and own[0] == 3:
            remedies.append("set data.grayscale to true")
        if not _fits(sample[1:], own[1:]) and None not in sample[1:]:
            remedies.append(f"set data.resize to [{sample[1]}, {sample[2]}]")
        return [" and ".join(remedies)]
    if contract.dataset == "npz":
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


STAGE = Stage(params=ImportParams, inputs=("data",), run=run, stands_for="export")
