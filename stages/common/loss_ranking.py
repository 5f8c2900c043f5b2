"""Which layers of a conversion in parity.json cost most: by the output if one alone is changed, or by its own error.

What `recast blame` shows, and the order in which `recast repair` keeps layers in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXACT_DB = 200.0
"""SQNR from which values count as equal"""


def ranked(conversion: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The conversion's layers, as parity.json has them, the worst first."""
    layers: list[Mapping[str, Any]] = list(conversion["layers"])
    if all(layer["output_if_only_this"] for layer in layers):
        return sorted(layers, key=lambda layer: _cost(layer["output_if_only_this"]))
    return sorted(layers, key=own_db)


def _cost(only: Mapping[str, Any]) -> tuple[float, float]:
    agreement = only["agreement"]
    return (1.0 if agreement is None else float(agreement), float(only["sqnr_db"]))


def own_db(layer: Mapping[str, Any]) -> float:
    """Of the layer alone; where it cannot be run alone, what it has behind it, if that is less than before."""
    if layer["alone"]:
        return float(layer["alone"]["sqnr_db"])
    before = layer["before"]
    after = float(layer["after"]["sqnr_db"])
    return after if before is None or after < float(before["sqnr_db"]) else EXACT_DB


def title(layer: Mapping[str, Any]) -> str:
    """The layer, with those it covers before it."""
    return " + ".join([*layer["covers"], layer["layer"]])
