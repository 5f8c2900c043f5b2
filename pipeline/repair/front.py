"""Which candidates no other one beats in everything that counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from recast.pipeline.repair.search import Candidate
from recast.stages.repair import Offer


def front(candidates: Sequence[Candidate], offer: Offer) -> list[bool]:
    """For each whether it is on the Pareto front: of the metric, agreement, size and the target's figures.

    Latency does not count: it is another one each time, and not known of a result that came from the cache.
    """
    values = [None if one.run.refused else _values(one, offer) for one in candidates]
    known = [one for one in values if one is not None]
    return [one is not None and not any(_beats(other, one) for other in known) for one in values]


def _beats(other: Sequence[float], one: Sequence[float]) -> bool:
    """Whether the other is as good in all and better in one; more is better."""
    return all(a >= b for a, b in zip(other, one, strict=True)) and any(a > b for a, b in zip(other, one, strict=True))


def _values(candidate: Candidate, offer: Offer) -> list[float]:
    run = candidate.run
    shown = run.metrics.get("metric")
    found = [
        _signed(run.metrics.get(f"{shown}_emitted"), offer.metric_better),
        _signed(run.metrics.get("agreement"), "higher"),
        # a few bytes are how numbers happen to be written
        _signed(None if run.size is None else float(f"{run.size:.3g}"), "lower"),
    ]
    for figure in offer.figures:
        found.append(_signed(run.by_stage.get(figure.stage, {}).get(figure.metric), figure.better))
    return found


def _signed(value: float | None, better: Literal["higher", "lower"]) -> float:
    """More is better; what is not known counts for nothing."""
    return 0.0 if value is None else float(value) * (1 if better == "higher" else -1)
