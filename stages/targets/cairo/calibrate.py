"""Prove that no sum can overflow, for every input within its range, and predict the error.

The proof is by intervals: from the range of the input, each node's weights give the range of its sums. It holds for all
inputs within that range, which the emitted program checks, not only for the calibration samples. These show how much
of it is used, and how far the integers are from the float model.

Deterministic: float64 bounds are rounded outward, and more widely than a processor's rounding can differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.targets.cairo.ir import program, ranges
from recast.stages.targets.cairo.ops.registry import OPERATIONS
from recast.stages.targets.cairo.ops.weighted import Weighted
from recast.stages.targets.cairo.passes import interpreter, range_analysis

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


class CalibrateParams(Params):
    """How many samples to look at, and which inputs the emitted program takes."""

    samples: int | None = Field(
        default=None, gt=0, description="calibration samples, from the first; none takes all there are"
    )
    input_range: tuple[float, float] | None = Field(
        default=None,
        description="lowest and highest normalised input; unset: all that stored uint8 can become, or for float data "
        "what the calibration samples span, wider by input_margin",
    )
    input_margin: float = Field(
        default=0.5, ge=0, allow_inf_nan=False, description="for float data: how much wider, as a fraction of the span"
    )

    @field_validator("input_range")
    @classmethod
    def _ordered(cls, given: tuple[float, float] | None) -> tuple[float, float] | None:
        if given is not None and not given[0] < given[1]:
            raise ValueError(f"must be [lowest, highest], not [{given[0]:g}, {given[1]:g}]")
        return given


def run(params: CalibrateParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/, simplify/model.onnx and the calibration split -> ranges.json.

    Raises StageError naming the first node that can overflow and a format that would hold it, and for samples that the
    format or the given range does not hold.
    """
    import numpy as np

    from recast.stages.common import dataset

    made = program.read(inputs["quantize"])
    samples, _ = dataset.read(inputs["data"], "calibration")
    few = dataset.first(samples, params.samples, "calibrate.samples")
    low, high = _input_range(params, dataset.read_contract(inputs["data"]), samples)
    if max(abs(low), abs(high)) >= made.format.largest:
        raise StageError(
            f"inputs range from {low:.6g} to {high:.6g}, and {made.format.name} holds numbers below "
            f"{made.format.largest}",
            "normalise the data, or set quantize.format to one with more bits before the point",
        )
    raw_low, raw_high = int(made.format.raw(low)), int(made.format.raw(high))
    progress("prove the ranges")
    bounds = range_analysis.run(made, raw_low, raw_high)
    progress("run the calibration samples")
    raw = made.format.raw(few)
    if raw.min() < raw_low or raw.max() > raw_high:
        raise StageError(
            f"calibration samples span {few.min():.6g} to {few.max():.6g}, and the input's "
            f"range is {low:.6g} to {high:.6g}",
            "widen calibrate.input_range",
        )
    seen = interpreter.run(made, raw, keep=True)
    floats = _floats(inputs["simplify"] / "model.onnx", few, params.resources.cpu)
    one = made.format.one
    tensors = {}
    for name, value in seen.items():
        held = bounds[name]
        within = bool((value >= held.low).all() and (value <= held.high).all())
        if not within:
            raise StageError(f"tensor {name} leaves its proven range", "this is a fault of the cairo target")
        error = float(np.abs(made.format.value(value) - floats[name]).max()) if name in floats else None
        tensors[name] = {
            "proven": [_short(float(held.low.min()) / one), _short(float(held.high.max()) / one)],
            "seen": [_short(float(value.min()) / one), _short(float(value.max()) / one)],
            "error": None if error is None else _short(error),
        }
    sums = {}
    for node in made.nodes:
        operation = OPERATIONS[node.op]
        if isinstance(operation, Weighted):
            slots = operation.linear(node, made).slots(bounds[node.inputs[0]])
            sums[node.name] = {"bits": slots.width, "slots": slots.count}
    ranges.Ranges(raw_low, raw_high, tensors, sums).write(out)
    return {
        "samples": len(few),
        "predicted_error": tensors[made.output]["error"],
        "widest_sum_bits": max((one["bits"] for one in sums.values()), default=0),
        "input_low": raw_low,
        "input_high": raw_high,
    }


def _input_range(params: CalibrateParams, contract: Contract, samples: NDArray[np.float32]) -> tuple[float, float]:
    import numpy as np

    if params.input_range is not None:
        low, high = params.input_range
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise StageError(f"calibrate.input_range is [{low}, {high}]", "give the lower number first, both finite")
        return low, high
    if contract.stored_dtype == "uint8":
        ends = [contract.normalise(np.full((1, *contract.shape), value, np.uint8)) for value in (0, 255)]
        return float(min(end.min() for end in ends)), float(max(end.max() for end in ends))
    low, high = float(samples.min()), float(samples.max())
    wider = (high - low) * params.input_margin
    return low - wider, high + wider


def _floats(path: Path, samples: NDArray[np.float32], threads: int) -> dict[str, NDArray[Any]]:
    form = OnnxForm(onnx_files.read_model(path), threads, "the simplified model")
    return dict(form.values(samples))


def _short(value: float) -> float:
    """Six digits: the rest depends on the processor."""
    return float(f"{value:.6g}")


STAGE = Stage(params=CalibrateParams, inputs=("quantize", "simplify", "data"), run=run)
