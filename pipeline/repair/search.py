"""Which candidates are tried, and in which order: what costs nothing at run time first, and no more than is needed.

Settings are taken up one after the other, each choice on top of the best so far, and kept if it takes away a tenth of
what is missed: a change of the recipe that hardly helps is none to make. A setting may be several at once, which are
then not taken up one by one. Then the ladder is climbed, by one, two, four rungs, until the limits are met, and the gap
to the last rung that was not enough is halved, so that of n rungs about 2·log2(n) are run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recast.pipeline.repair.candidate import Run
from recast.pipeline.repair.limits import Distance
from recast.stages.repair import Choice, Offer, Values, merged

WORTH = 0.1
"""the part of what is missed that a setting must take away to be kept"""


@dataclass(frozen=True)
class Candidate:
    """A run, and how far it is from the limits."""

    run: Run
    distance: Distance
    rungs: int = 0
    """of the ladder, that it is up"""

    @property
    def meets(self) -> bool:
        """Whether it was verified and misses no limit."""
        return not self.run.refused and not self.distance.missed

    @property
    def badness(self) -> tuple[float, ...]:
        """Less is better: what is missed, then what the outputs lost. A refused one is worst."""
        if self.run.refused:
            return (float("inf"),)
        agreement = self.run.metrics.get("agreement")
        return (self.distance.share, 1.0 - (1.0 if agreement is None else agreement), -self.run.metrics["sqnr_db"])

    def is_worth_it(self, instead: Candidate) -> bool:
        """Whether it takes away enough of what the other one misses."""
        return not self.run.refused and (
            instead.run.refused != "" or self.distance.share <= (1 - WORTH) * instead.distance.share
        )


@dataclass
class Found:
    """What a search has tried so far, in order, and where it stands."""

    tried: list[Candidate] = field(default_factory=list)
    best: Candidate | None = None
    offer: Offer = field(default_factory=Offer)
    """what could be tried from the best one"""

    @property
    def chosen(self) -> Candidate | None:
        """The candidate to take: of those that meet the limits the one lowest on the ladder, then the best."""
        meeting = [one for one in self.tried if one.meets]
        return min(meeting, key=lambda one: (one.rungs, one.badness), default=None)


Evaluate = Callable[[tuple[str, ...], Values], Run]
"""runs the recipe with values"""
Measure = Callable[[Run], Distance]
Ask = Callable[[Values], Offer]
"""what can be tried from a candidate with these values, which has been run"""


def search(found: Found, evaluate: Evaluate, measure: Measure, ask: Ask, told: Callable[[Candidate], None]) -> None:
    """Fill in `found` until a candidate meets the limits, or nothing is left to try; `told` is told of each candidate.

    What it holds stays if one of the functions raises.
    """

    def tried(says: tuple[str, ...], values: Values, rungs: int = 0) -> Candidate:
        run = evaluate(says, values)
        candidate = Candidate(run, Distance((), 0.0) if run.refused else measure(run), rungs)
        found.tried.append(candidate)
        told(candidate)
        return candidate

    best = found.best or tried((), {})
    found.best = best
    if best.meets:
        return
    found.offer = ask(best.run.values)
    covered: set[str] = set()
    for setting in found.offer.settings:
        if setting.name in covered:
            continue
        start = best
        for choice in setting.choices:
            candidate = tried((*start.run.says, choice.says), merged(start.run.values, choice.values))
            if candidate.meets or candidate.is_worth_it(best):
                found.best = best = candidate
            if best.meets:
                return
        if best is not start:
            covered.update(setting.covers)
    if best.run.values:
        found.offer = ask(best.run.values)
    _climb(found.offer.ladder, best, tried, found)


def _climb(
    ladder: Sequence[Choice], start: Candidate, tried: Callable[[tuple[str, ...], Values, int], Candidate], found: Found
) -> None:
    """Find the lowest rung that is enough, if more is never worse; where it is, the lowest of those that were run."""

    def at(rung: int) -> Candidate:
        choice = ladder[rung - 1]
        candidate = tried((*start.run.says, choice.says), merged(start.run.values, choice.values), rung)
        if found.best is None or candidate.badness < found.best.badness:
            found.best = candidate
        return candidate

    low, high = 0, 1
    while high <= len(ladder) and not at(high).meets:
        low, high = high, min(2 * high, len(ladder)) if high < len(ladder) else len(ladder) + 1
    while high <= len(ladder) and high - low > 1:
        middle = (low + high) // 2
        if at(middle).meets:
            high = middle
        else:
            low = middle
