"""How far a candidate is from its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recast.pipeline.core.errors import RecastError
from recast.pipeline.reporting.limits import measured
from recast.stages.repair import Limit, Offer


@dataclass(frozen=True)
class Distance:
    """Which limits are missed, and by how much in all: shares as they are, larger numbers as a part of their limit."""

    missed: tuple[str, ...]
    share: float


def asked(offer: Offer, metrics: Mapping[str, Any], max_drop: float | None, least: float | None) -> tuple[Limit, ...]:
    """The recipe's limits, and those of the command line: these go before the recipe's of the same name.

    `max_drop`: of the metric that tables show, against the float model's; RecastError where nothing is measured by
    labels. `least`: agreement.
    """
    said = []
    shown = metrics.get("metric")
    if max_drop is not None:
        if not shown:
            raise RecastError("nothing is measured by labels, so nothing can drop", "give --min-agreement instead")
        how: Literal["drop", "rise"] = "drop" if offer.metric_better == "higher" else "rise"
        said.append(Limit(name=f"max_{shown}_{how}", metric=shown, how=how, limit=max_drop))
    if least is not None:
        said.append(Limit(name="min_agreement", metric="agreement", how="min", limit=least))
    names = {one.name for one in said}
    return (*said, *(one for one in offer.limits if one.name not in names))


def distance(limits: Sequence[Limit], metrics: Mapping[str, Any]) -> Distance:
    """Of a candidate with these metrics of `verify`; what was not measured is missed."""
    missed, share = [], 0.0
    for one in limits:
        value = measured(one.name, metrics)
        is_least = one.how == "min"
        if value is None:
            missed.append(f"{one.metric} was not measured, and {one.name} is {one.limit:g}")
            share += 1.0
        elif (is_least and not value >= one.limit) or (not is_least and not value <= one.limit):
            said = one.metric if one.how in ("min", "max") else f"{one.metric} {one.how}"
            missed.append(f"{said} {value:.6g} is {'below' if is_least else 'above'} {one.name} {one.limit:g}")
            share += abs(value - one.limit) / max(1.0, abs(one.limit))
    return Distance(tuple(missed), share)
