"""What `verify` measured of the scores, and what of it the comparison layer by layer does not account for, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.hops import Hop, agreement, most_lost, numbers, of_outputs
from stages.parity import FLOAT_DB, INT8_DB, RIGHT_DB, SAME_DB, Difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

FARTHER = 1.5
"""how many times as large an error must be on samples that were not compared, to be said"""
_LEAST_DB = {"float": FLOAT_DB, "int8": INT8_DB, "same": SAME_DB}


@dataclass(frozen=True)
class Measured:
    """Scores of the emitted model against those of the float model."""

    samples: int
    output: Difference
    agreement: float | None
    """fraction of samples with the same class; None if the scores are no tables of one shape"""
    worst: int
    """the test sample with the largest error"""


def measured(expected: NDArray[Any], actual: NDArray[Any], chosen: Sequence[int]) -> Measured:
    """Compare scores (N, classes) of the float model and of the emitted one on the chosen samples."""
    few, made = expected[chosen], actual[chosen]
    return Measured(len(chosen), of_outputs(few, made), agreement(few, made), chosen[_worst(few, made)])


def choose(expected: NDArray[Any], actual: NDArray[Any], most: int) -> list[int]:
    """The first samples, and as the last of them that with the largest error if it is not among them."""
    worst = _worst(expected, actual)
    first = list(range(min(most, len(expected))))
    return first if worst < most or most < 2 else [*first[:-1], worst]


def _worst(expected: NDArray[Any], actual: NDArray[Any]) -> int:
    import numpy as np

    if expected.shape != actual.shape:
        return 0
    errors = np.abs(actual.astype(np.float64) - expected).reshape(len(expected), -1)
    # NaN counts as the largest there is
    return int(np.nan_to_num(errors, nan=np.inf).max(axis=1).argmax())


def as_json(of: Measured) -> dict[str, Any]:
    """For parity.json."""
    return {"samples": of.samples, **(numbers(of.output) or {}), "agreement": of.agreement, "worst_sample": of.worst}


def losses(hops: Sequence[Hop]) -> list[str]:
    """A sentence for each hop whose output loses more than such a step should, though no layer of it is blamed."""
    found = []
    for hop in hops:
        fewer = hop.kind != "int8" and hop.agreement is not None and hop.agreement < 1
        if hop.blamed is not None or (hop.output.sqnr_db >= _LEAST_DB[hop.kind] and not fewer):
            continue
        classes = f", and {1 - hop.agreement:.1%} of the samples change class" if fewer and hop.agreement else ""
        lost = f"From the {hop.before} to the {hop.after} model {_kept(hop.output)}{classes}"
        if not hop.accounted:
            found.append(f"{lost}.")
            continue
        if len(hop.layers) < 2:
            found.append(f"{lost}; the {hop.after} model shows no layers, so which one loses it is not known.")
            continue
        most = f"the most is lost at {most_lost(hop)}"
        found.append(f"{lost}, though no layer alone loses as much as a fault would; {most}.")
    return found


def remainders(hops: Sequence[Hop], compared: Measured, every: Measured, float_model: Difference | None) -> list[str]:
    """A sentence for each difference between what `verify` measured and what was compared layer by layer.

    `compared` and `every`: of the samples that were compared by layer, and of all; `float_model`: of its scores as
    measured, from the output of its form.
    """
    found = []
    for hop in hops:
        if hop.remainder is not None and not hop.accounted:
            found.append(
                f"The layers of the {hop.after} model do not account for its output: put together they give one from "
                f"which that of the whole model differs by {_size(hop.remainder)}."
            )
    if float_model is not None and float_model.sqnr_db < RIGHT_DB:
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
