"""What the emitted program takes, as its folder says it: the input's contract, number format and range, and weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.targets.cairo.ir.fixed_point import format_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract

FIXED_POINT, WEIGHTS = "fixed_point.json", "weights.json"
SHIPS = (
    *("Scarb.toml", "src/lib.cairo", "src/functions.cairo", "src/inference.cairo"),
    *("crates/*/Scarb.toml", "crates/**/*.cairo", f"{WEIGHTS}*"),
)
"""the program with its weights; src/input.cairo holds an example"""


@dataclass(frozen=True)
class ProgramInput:
    """What the program takes: samples by the contract, as integers within a range, and weights behind them."""

    contract: Contract
    format: str
    low: int
    high: int
    weights: tuple[int, ...]
    """felts that follow the input in the call data"""

    def raw(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Samples as stored (N, *shape) -> raw inputs, int64; StageError for one that the program refuses."""
        import numpy as np

        fmt = format_of(self.format)
        normalised = self.contract.normalise(stored)
        if not np.isfinite(normalised).all():
            raise StageError("samples hold NaN or infinity", "mend or drop those samples in the data")
        raw = fmt.raw(normalised)
        outside = ((raw < self.low) | (raw > self.high)).reshape(len(raw), -1).any(axis=1)
        if outside.any():
            raise StageError(
                f"{int(outside.sum())} of {len(raw)} samples leave the input's range, {self.low / fmt.one:g} to "
                f"{self.high / fmt.one:g} (first: sample {int(outside.argmax())}); the program panics on them",
                "widen calibrate.input_range or calibrate.input_margin",
            )
        return raw


def read(folder: Path) -> ProgramInput:
    """Read input.json, fixed_point.json and weights.json; StageError if one is damaged."""
    from recast.stages.common.dataset import read_contract

    try:
        fixed = json.loads((folder / FIXED_POINT).read_text(encoding="utf-8"))
        weights = (folder / WEIGHTS).read_text(encoding="utf-8") if (folder / WEIGHTS).exists() else "[]"
        felts = tuple(int(felt, 16) for felt in json.loads(weights))
        return ProgramInput(read_contract(folder), fixed["format"], int(fixed["low"]), int(fixed["high"]), felts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"cannot read {folder.name}/{FIXED_POINT} or {WEIGHTS}: {error}", "run emit again") from error
