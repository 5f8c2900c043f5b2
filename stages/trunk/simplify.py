"""Simplify the exported ONNX graph: fold constants, fuse and drop nodes, without changing what it computes.

Deterministic: onnxsim and onnxslim write the same graph for the same input, serialised canonically.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from recast.stages.common import reference, samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken
from recast.stages.common.untrusted import memory_limit, time_limit
from recast.stages.trunk.rewrites import folding, simplify_process

if TYPE_CHECKING:
    from numpy.typing import NDArray


LAST_OPSET, LAST_IR_VERSION = 26, 13
"""that onnxruntime 1.31 reads"""


class SimplifyParams(Params):
    """How to simplify, and what the result must look like."""

    tool: Literal["onnxsim", "onnxslim"] = Field(default="onnxsim", description="which simplifier runs")
    opset: int | None = Field(
        default=None, ge=7, le=LAST_OPSET, description="convert to this opset; none keeps the exported one"
    )
    ir_version: int | None = Field(
        default=None, ge=3, le=LAST_IR_VERSION, description="write this ONNX IR version; none keeps it"
    )
    tolerance: float = Field(
        default=1e-4,
        gt=0,
        description="largest error of an output, as a fraction of the largest output",
    )
    timeout_seconds: int = Field(default=600, gt=0, description="after which the simplifier is stopped")


def run(params: SimplifyParams, inputs: Inputs, out: Path) -> Metrics:
    """export/model.onnx and export/reference.safetensors -> model.onnx, checked against both.

    Raises StageError if the simplifier fails or crashes, or if the result is invalid or computes something else.
    """
    with (
        time_limit(
            2 * params.timeout_seconds, "simplifying and comparing the models", "raise simplify.timeout_seconds"
        ),
        memory_limit("the model", "close other programs"),
    ):
        return _checked(params, inputs, out)


def _checked(params: SimplifyParams, inputs: Inputs, out: Path) -> Metrics:
    before = onnx_files.read_model(inputs["export"] / "model.onnx")
    progress(f"{params.tool}: {len(before.graph.node)} nodes")
    after = _simplified(params, before, inputs.scratch)
    _check_versions(params, after)
    errors = _parity(params, inputs["export"] / reference.FILE, before, after)
    onnx_files.write_model(after, out / "model.onnx")
    return {
        "nodes_before": len(before.graph.node),
        "nodes": len(after.graph.node),
        "opset": onnx_files.opset(after),
        "ir_version": int(after.ir_version),
        **errors,
    }


def _simplified(params: SimplifyParams, model: onnx_files.Model, scratch: Path) -> onnx_files.Model:
    """What the tool makes of the model, with what it leaves folded; `model` stays as it is."""
    source, destination = scratch / "source.onnx", scratch / "simplified.onnx"
    made = type(model)()
    made.CopyFrom(model)
    # weights that might be given other values stand in the way of folding, and onnxslim forgets to list them
    onnx_files.with_constant_weights(made)
    folding.fold(made)
    while True:
        onnx_files.write_model(made, source)
        _simplify(params, source, destination)
        other = f"try simplify.tool: {_other(params.tool)}"
        made = onnx_files.read_model(destination, f"what {params.tool} wrote", other)
        # a condition that the tool computed, and a branch that it has not seen yet
        if folding.fold(made):
            continue
        if model.ir_version < 4 and params.ir_version is None:
            onnx_files.list_weights(made, model.ir_version)
        return made


def _simplify(params: SimplifyParams, source: Path, destination: Path) -> None:
    arguments = [params.tool, str(source), str(destination), _or_dash(params.opset), _or_dash(params.ir_version)]
    try:
        done = subprocess.run(
            [sys.executable, "-I", simplify_process.__file__, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=params.timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StageError(
            f"{params.tool} did not finish within {params.timeout_seconds} s",
            "raise simplify.timeout_seconds",
            f"try simplify.tool: {_other(params.tool)}",
        ) from error
    # the tools' own words belong in the stage's log
    sys.stderr.write(done.stdout + done.stderr)
    if done.returncode < 0:
        raise StageError(
            f"{params.tool} crashed (signal {-done.returncode})", f"try simplify.tool: {_other(params.tool)}"
        )
    if done.returncode:
        reason = onnx_files.first_line((done.stderr.strip().splitlines() or [""])[-1])
        if params.opset is not None:
            raise StageError(
                f"cannot simplify and convert the model to opset {params.opset}: {reason}",
                f"export at that opset instead of converting: set export.opset to {params.opset}",
                f"export the file of import.path again at opset {params.opset}, and drop simplify.opset",
            )
        raise StageError(f"{params.tool} failed: {reason}", f"try simplify.tool: {_other(params.tool)}")


def _check_versions(params: SimplifyParams, model: onnx_files.Model) -> None:
    import onnx

    if params.opset is not None and onnx_files.opset(model) != params.opset:
        raise StageError(
            f"asked for opset {params.opset}, but the converter wrote {onnx_files.opset(model)}",
            f"set export.opset to {params.opset}",
            f"export the file of import.path again at opset {params.opset}, and drop simplify.opset",
        )
    least = onnx.helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    # a model that came with too low a version is kept as it is: what reads it does not mind
    chosen = params.opset is not None or params.ir_version is not None
    if chosen and model.ir_version < least:
        raise StageError(
            f"opset {onnx_files.opset(model)} needs IR version {least} or later, not {model.ir_version}",
            f"set simplify.ir_version to {least}",
            "set export.opset to an earlier one",
            "set simplify.opset to an earlier one, which converts it",
        )


def _parity(params: SimplifyParams, path: Path, before: onnx_files.Model, after: onnx_files.Model) -> dict[str, float]:
    x, expected = reference.read(path)
    threads = params.resources.cpu
    actual = onnx_files.Session(after, threads, "the simplified model").run(x)
    original = onnx_files.Session(before, threads, "the exported model").run(x)
    try:
        return {
            "max_abs_error": _largest_error(actual, expected, params, "the exporter's reference output"),
            "max_abs_error_unsimplified": _largest_error(actual, original, params, "the unsimplified model"),
        }
    except StageError as error:
        if samples.shapes(actual) != samples.shapes(original):
            raise
        where = _where(params, path.parent, x, (before, after))
        raise StageError(error.message + where, *error.remedies) from error


def _where(params: SimplifyParams, export: Path, x: Taken, models: tuple[onnx_files.Model, ...]) -> str:
    """At which layer the simplified model leaves the exported one's path; empty if it does not."""
    from recast.stages.parity import comparison, layer_names, report
    from recast.stages.parity.forms.form import NamedForm
    from recast.stages.parity.forms.onnx_form import OnnxForm
    from recast.stages.parity.metrics import EXACT_DB

    before, after = (
        NamedForm(name, OnnxForm(model, params.resources.cpu, f"the {name} model"), "float")
        for name, model in zip(("exported", "simplified"), models, strict=True)
    )
    found = comparison.compare(before, after, x, layer_names.of(export))
    # the two may agree with each other, and differ from PyTorch's record only
    return f"; {report.said([found])}" if found.output.sqnr_db < EXACT_DB else ""


def _largest_error(actual: Taken, expected: Taken, params: SimplifyParams, against: str) -> float:
    """The largest of all outputs, each held to the tolerance by its own largest value."""
    made, wanted = samples.parts(actual), samples.parts(expected)
    if made.keys() != wanted.keys():
        raise StageError(
            f"the simplified model gives {', '.join(made) or 'one output'}, but {against} has "
            f"{', '.join(wanted) or 'one output'}",
            f"try simplify.tool: {_other(params.tool)}",
        )
    return max(_error_of(name, made[name], wanted[name], params, against) for name in wanted)


def _error_of(name: str, actual: NDArray[Any], expected: NDArray[Any], params: SimplifyParams, against: str) -> float:
    import numpy as np

    of = f" as {name}" if name else ""
    if actual.shape != expected.shape:
        raise StageError(
            f"the simplified model gives outputs {actual.shape}{of}, but {against} has {expected.shape}",
            f"try simplify.tool: {_other(params.tool)}",
        )
    if not np.isfinite(actual).all():
        raise StageError(f"the simplified model gives NaN or infinity{of}", f"try simplify.tool: {_other(params.tool)}")
    error = float(np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
    # whole numbers, as of classes, are compared exactly
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0
    limit = params.tolerance * largest if expected.dtype.kind == "f" else 0.0
    if not error <= limit:
        at = f"at opset {params.opset} instead of converting"
        converted = (f"export {at}, with export.opset", f"export the file of import.path again {at}")
        raise StageError(
            f"the simplified model differs from {against}{f' in {name}' if name else ''} by {error:.3g}, more than "
            f"{limit:.3g}",
            f"try simplify.tool: {_other(params.tool)}",
            "raise simplify.tolerance" if limit else "",
            *(converted if params.opset else ()),
        )
    return error


def _other(tool: str) -> str:
    return "onnxslim" if tool == "onnxsim" else "onnxsim"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


STAGE = Stage(params=SimplifyParams, inputs=("export",), run=run)
