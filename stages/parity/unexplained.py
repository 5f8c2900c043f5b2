"""What `verify` measured of the scores, and what of it the comparison layer by layer does not account for, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recast.stages.common import samples
from recast.stages.common.samples import Taken
from recast.stages.parity.comparison import Conversion
from recast.stages.parity.metrics import FLOAT_DB, INT8_DB, SAME_DB, Agree, Difference, of_outputs
from recast.stages.parity.report import most_lost, numbers

FARTHER = 1.5
"""how many times as large an error must be on samples that were not compared, to be said"""
_LEAST_DB = {"float": FLOAT_DB, "int8": INT8_DB, "same": SAME_DB}


@dataclass(frozen=True)
class Measured:
    """Scores of the emitted model against those of the float model."""

    samples: int
    output: Difference
    agreement: float | None
    """as the task has it; None if the two have not one shape"""
    worst: int
    """the test sample with the largest error"""


def measured(expected: Taken, actual: Taken, chosen: Sequence[int], agree: Agree) -> Measured:
    """Compare outputs (N, ...) of the float model and of the emitted one on the chosen samples."""
    few, made = expected[list(chosen)], actual[list(chosen)]
    return Measured(len(chosen), of_outputs(few, made), agree(few, made), chosen[_worst(few, made)])


def choose(expected: Taken, actual: Taken, most: int) -> list[int]:
    """The first samples, and as the last of them that with the largest error if it is not among them."""
    worst = _worst(expected, actual)
    first = list(range(min(most, len(expected))))
    return first if worst < most or most < 2 else [*first[:-1], worst]


def _worst(expected: Taken, actual: Taken) -> int:
    """The sample with the largest error; of several outputs each by its own largest value."""
    import numpy as np

    made, errors = samples.parts(actual), []
    for name, value in samples.parts(expected).items():
        if name not in made or made[name].shape != value.shape:
            return 0
        off = np.abs(made[name].astype(np.float64) - value).reshape(len(value), -1)
        # NaN counts as the largest there is
        errors.append(np.nan_to_num(off, nan=np.inf).max(axis=1) / (float(np.abs(value).max(initial=0.0)) or 1.0))
    return int(np.max(errors, axis=0).argmax())


def as_json(of: Measured) -> dict[str, Any]:
    """For parity.json."""
    return {"samples": of.samples, **(numbers(of.output) or {}), "agreement": of.agreement, "worst_sample": of.worst}


def losses(conversions: Sequence[Conversion]) -> list[str]:
    """A sentence for each conversion whose output loses more than its kind should, though no layer of it is blamed."""
    found = []
    for one in conversions:
        fewer = one.kind != "int8" and one.agreement is not None and one.agreement < 1
        if one.blamed is not None or (one.output.sqnr_db >= _LEAST_DB[one.kind] and not fewer):
            continue
        apart = f", and the two agree on {one.agreement:.1%} only" if fewer else ""
        lost = f"From the {one.before} to the {one.after} model {_kept(one.output)}{apart}"
        if not one.accounted:
            found.append(f"{lost}.")
            continue
        if len(one.layers) < 2:
            found.append(f"{lost}; the {one.after} model shows no layers, so which one loses it is not known.")
            continue
        most = f"the most is lost at {most_lost(one)}"
        found.append(f"{lost}, though no layer alone loses as much as a fault would; {most}.")
    return found


def remainders(
    conversions: Sequence[Conversion], compared: Measured, every: Measured, float_model: Difference | None
) -> list[str]:
    """A sentence for each difference between what `verify` measured and what was compared layer by layer.

    `compared` and `every`: of the samples that were compared by layer, and of all; `float_model`: of its scores as
    measured, from the output of its form.
    """
    found = []
    for one in conversions:
        if one.remainder is not None and not one.accounted:
            found.append(
                f"The layers of the {one.after} model do not account for its output: put together they give one from "
                f"which that of the whole model differs by {_size(one.remainder)}."
            )
    # rounding adds up over a deep model's layers, and its parts round in another order than the whole: of right ones 94
    # to 100 dB have been seen
    if float_model is not None and float_model.sqnr_db < FLOAT_DB:
        found.append(
            "The float model's scores as verify measured them differ from those of its layers, run one by one, by "
            f"{_size(float_model)}."
        )
    if every.output.max_abs > FARTHER * compared.output.max_abs:
        found.append(
            f"On all {every.samples} samples the largest error is {every.output.max_abs:.4g} (sample {every.worst})"
            f", and on the {compared.samples} that were compared layer by layer {compared.output.max_abs:.4g}: raise "
            "verify.parity_samples to have the others compared too."
        )
    return found


def _kept(output: Difference) -> str:
    return f"the output keeps {output.sqnr_db:.1f} dB (largest error {output.max_abs:.3g})"


def _size(of: Difference) -> str:
    return f"{of.max_abs:.3g} at most ({of.sqnr_db:.1f} dB)"
