"""What `calibrate` finds out, and `emit` and `verify` read: the input's range, and what each tensor can be."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.stages.base import StageError

RANGES = "ranges.json"


@dataclass(frozen=True)
class Ranges:
    """`low` and `high`: the raw input's range, which the emitted program checks and every proof starts from."""

    low: int
    high: int
    tensors: dict[str, Any]
    """tensor -> {"proven": [low, high], "seen": [low, high], "error": largest against the float model}, as values"""
    sums: dict[str, Any]
    """node with weights -> {"bits": of its largest sum, with the sign, "slots": sums in one felt}"""

    def write(self, folder: Path) -> None:
        """Write ranges.json."""
        content = {"input": [self.low, self.high], "tensors": self.tensors, "sums": self.sums}
        (folder / RANGES).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> Ranges:
    """What `write` wrote; StageError if it is missing or damaged."""
    try:
        content = json.loads((folder / RANGES).read_text(encoding="utf-8"))
        low, high = content["input"]
        return Ranges(int(low), int(high), content["tensors"], content["sums"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StageError(f"cannot read {folder.name}/{RANGES}: {error}", "run calibrate again") from error
