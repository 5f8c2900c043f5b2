"""What `verify` found, for people: parity.json, error_by_layer.csv, and one sentence.

docs/parity.md shows how they are read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import Plot
from recast.stages.parity.metrics import Difference, ranked

if TYPE_CHECKING:
    from recast.stages.parity.comparison import Conversion

REPORT = "parity.json"
ERRORS = Plot(
    "error_by_layer.csv",
    x="layer",
    y=("relative_error", "relative_error_alone"),
    template="error_by_layer",  # .dvc/plots/error_by_layer.json
    title="Relative error by layer, of the conversion that loses most",
)


def write(out: Path, conversions: Sequence[Conversion], more: Mapping[str, Any] | None = None) -> None:
    """Write parity.json and error_by_layer.csv; `more`: what else parity.json is to hold."""
    forms = {name: runs for one in conversions for name, runs in zip((one.before, one.after), one.runs, strict=True)}
    report = {"forms": forms, **(more or {}), "conversions": [_as_json(one) for one in conversions]}
    (out / REPORT).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = _worst(conversions)
    with (out / ERRORS.file).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        columns = ["layer", "conversion", "relative_error", "relative_error_alone", "sqnr_db", "sqnr_alone_db"]
        rows.writerow([*columns, "max_abs_error", "cosine"])
        for layer in shown.layers if shown is not None else []:
            own = layer.alone
            rows.writerow(
                [
                    layer.title,
                    shown.title if shown is not None else "",
                    _short(layer.after.relative),
                    _short(own.relative) if own else "",
                    _short(layer.after.sqnr_db),
                    _short(own.sqnr_db) if own else "",
                    _short(layer.after.max_abs),
                    _short(layer.after.cosine),
                ]
            )


def said(conversions: Sequence[Conversion]) -> str:
    """One sentence for a limit that was missed: the first layer at which the error jumps, or that there is none."""
    blamed = next((one for one in conversions if one.blamed is not None), None)
    if blamed is not None:
        return jump(blamed)
    losing = min(conversions, key=lambda one: one.output.sqnr_db, default=None)
    if losing is None:
        return ""
    kept = f"from {losing.before} to {losing.after} the output keeps {losing.output.sqnr_db:.1f} dB"
    if len(losing.layers) < 2:
        return f"{kept}; the {losing.after} model does not show its layers"
    if not losing.accounted:
        return f"{kept}, which its layers do not account for"
    return f"no single layer is at fault: {kept}, and most is lost at {most_lost(losing)}"


def jump(conversion: Conversion) -> str:
    """At which layer the error jumps, and by how much, of a conversion that blames one; empty for any other."""
    layer = conversion.blamed
    if layer is None:
        return ""
    before = layer.before
    was = f"from {before.sqnr_db:.1f} dB (largest error {before.max_abs:.3g}) before it " if before else ""
    own = f"; given the right input it has {layer.alone.sqnr_db:.1f} dB" if layer.alone else ""
    return (
        f"the error jumps at layer {layer.title} ({conversion.title}): SQNR falls {was}"
        f"to {layer.after.sqnr_db:.1f} dB (largest error {layer.after.max_abs:.3g}) after it{own}"
    )


def most_lost(conversion: Conversion) -> str:
    """The three layers that lose most, with what they keep, as a phrase."""
    return ", ".join(
        f"{layer.title} ({(layer.alone or layer.after).sqnr_db:.1f} dB)" for layer in ranked(conversion.layers)[:3]
    )


def _worst(conversions: Sequence[Conversion]) -> Conversion | None:
    """The conversion that is blamed, or else the one whose output loses most, of those that show layers."""
    showing = [one for one in conversions if len(one.layers) > 1]
    blamed = next((one for one in showing if one.blamed is not None), None)
    return blamed or min(showing, key=lambda one: one.output.sqnr_db, default=None)


def _as_json(conversion: Conversion) -> dict[str, Any]:
    layers = []
    for layer in conversion.layers:
        cost = conversion.only.get(layer.tensor)
        layers.append(
            {
                "layer": layer.layer,
                "tensor": layer.tensor,
                "operation": layer.operation,
                "covers": list(layer.covers),
                "before": numbers(layer.before),
                "after": numbers(layer.after),
                "alone": numbers(layer.alone),
                "alone_steps": None if layer.steps is None else _short(layer.steps),
                "output_if_only_this": {**(numbers(cost[0]) or {}), "agreement": cost[1]} if cost else None,
            }
        )
    return {
        "from": conversion.before,
        "to": conversion.after,
        "kind": conversion.kind,
        "samples": conversion.samples,
        "output": {**(numbers(conversion.output) or {}), "agreement": conversion.agreement},
        "blamed": conversion.blamed.title if conversion.blamed else None,
        "remainder": numbers(conversion.remainder),
        "note": conversion.note,
        "layers": layers,
    }


def numbers(of: Difference | None) -> dict[str, float] | None:
    """A difference for parity.json."""
    if of is None:
        return None
    return {
        "max_abs_error": _short(of.max_abs),
        "relative_error": _short(of.relative),
        "sqnr_db": _short(of.sqnr_db),
        "cosine": float(f"{of.cosine:.7g}"),
    }


def _short(value: float) -> float:
    """Four digits: the rest depends on the processor."""
    return float(f"{value:.4g}")
