"""What lies beside a target's models: ranges of values before and after calibration, and an emitted model's scheme.

Both are there for some targets only, and nothing is said of the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recast.stages.reporting import charts

RANGES, LAYERS, ACTIVATIONS, REPORT = "ranges.json", "layers.json", "activations.safetensors", "report.json"


def ranges(root: Path, directories: Mapping[str, str]) -> tuple[charts.Spec, str] | None:
    """The chart of calibrated ranges, beside what the float model's layers gave on the samples `export` recorded."""
    chosen = _pairs(_json(root / directories["calibrate"] / RANGES)) if "calibrate" in directories else {}
    if not chosen:
        return None
    export = root / directories["export"] if "export" in directories else None
    return charts.ranges(*_named(chosen, export))


def scheme(emitted: Path) -> str:
    """How an emitted model computes, int8 or float32, if its report says so."""
    said = _json(emitted / REPORT)
    return str(said.get("scheme", "")) if isinstance(said, dict) else ""


def _pairs(found: Any) -> dict[str, Sequence[float]]:
    """Tensor -> lowest, highest; empty for a file that holds anything else."""
    if not isinstance(found, dict):
        return {}
    fits = all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(value, int | float) for value in pair)
        for pair in found.values()
    )
    return dict(found) if fits else {}


def _named(
    chosen: Mapping[str, Sequence[float]], export: Path | None
) -> tuple[dict[str, Sequence[float]], dict[str, Sequence[float]]]:
    """Ranges by the names of layers where they are known, and those that the layers' outputs had before."""
    layers = _json(export / LAYERS) if export else None
    if export is None or not isinstance(layers, dict) or not (export / ACTIVATIONS).is_file():
        return dict(chosen), {}
    from safetensors.numpy import load_file

    recorded = load_file(export / ACTIVATIONS)
    found: dict[str, Sequence[float]] = {}
    seen: dict[str, Sequence[float]] = {}
    # in the order in which the layers run
    order = [name for name in layers if name in chosen]
    for tensor in [*(name for name in chosen if name not in layers), *order]:
        layer = str((layers.get(tensor) or {}).get("layer", tensor))
        found[layer] = chosen[tensor]
        values = recorded.get(f"{layer}.out.0")
        if values is not None and values.size and values.dtype.kind == "f":
            seen[layer] = [float(values.min()), float(values.max())]
    return found, seen


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
