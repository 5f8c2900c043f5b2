"""The limits that a recipe sets, beside what was measured: met, or missed by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_DIGITS = 12
"""metrics are often counts over samples, and a difference of two may be off in its last digits"""


@dataclass(frozen=True)
class Limit:
    """One limit of a stage that verifies."""

    name: str
    """as the recipe writes it"""
    bound: float
    value: float | None
    """what was measured; None if the metrics do not hold it"""
    met: bool | None
    """None where nothing was measured"""
    margin: float | None
    """by how much it is met, below 0 by how much it is missed"""


def limits(params: Mapping[str, Any], metrics: Mapping[str, Any]) -> tuple[Limit, ...]:
    """Every limit among a verifying stage's params, `min_NAME`, `max_NAME`, `max_NAME_drop` or `_rise`, and `limits`.

    Metrics hold NAME or, where it is measured of both models, `NAME_float` and `NAME_emitted` (see `Stage.reports`).
    """
    given = {**params, **(params.get("limits") or {})}
    return tuple(_limits(given, metrics))


def _limits(given: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[Limit]:
    for name, bound in given.items():
        how, _, metric = name.partition("_")
        if how not in ("min", "max") or not metric or isinstance(bound, bool) or not isinstance(bound, int | float):
            continue
        value = measured(name, metrics)
        if value is None:
            yield Limit(name, bound, None, None, None)
            continue
        margin = round(value - bound if how == "min" else bound - value, _DIGITS)
        yield Limit(name, bound, value, margin >= 0, margin)


def measured(name: str, metrics: Mapping[str, Any]) -> float | None:
    """What is held against the limit of that name; None if it was not measured."""
    metric = name.partition("_")[2]
    for ending, sign in (("_drop", 1.0), ("_rise", -1.0)):
        of = metric.removesuffix(ending)
        both = [_number(metrics.get(f"{of}_{model}")) for model in ("float", "emitted")]
        if of != metric and both[0] is not None and both[1] is not None:
            return round(sign * (both[0] - both[1]), _DIGITS)
    found = (metrics.get(key) for key in (f"{metric}_emitted", metric, name))
    return next((number for value in found if (number := _number(value)) is not None), None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
