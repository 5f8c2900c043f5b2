"""`recast repair` from the request to what came of it."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recast.pipeline.core.address import Address, recipe_of
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import RECIPES
from recast.pipeline.core.whole_file import replaced
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.processes import offer_call
from recast.pipeline.recipes.edited import with_values
from recast.pipeline.repair import limits
from recast.pipeline.repair.candidate import Run, Stopped, Workplace
from recast.pipeline.repair.limits import Distance
from recast.pipeline.repair.search import Candidate, Found, search
from recast.pipeline.repair.workspace import copied
from recast.stages.repair import Limit, Offer, Values


@dataclass(frozen=True)
class Wish:
    """What the user asks of a repair."""

    what: str
    """RECIPE/TARGET"""
    max_drop: float | None = None
    """most that the metric may be worse than the float model's"""
    min_agreement: float | None = None
    budget: float | None = None
    """seconds after which no candidate is run any more"""


@dataclass(frozen=True)
class Repair:
    """What was tried, and what came of it."""

    target: Address
    found: Found
    limits: tuple[Limit, ...]
    stopped: str
    """why it ended before its time: empty, `interrupted` or `budget`; what is chosen was then not verified with the
    recipe's own limits"""
    change: str
    """of the recipe's file, as a diff; empty where nothing is to be changed or nothing was enough"""
    before: str
    """the recipe's file when the search began"""
    written: str
    """the recipe's file with the change, as it was verified"""
    seconds: float


def repair(
    root: Path, wish: Wish, interrupts: Interrupts, live: Callable[[str], None], told: Callable[[Candidate], None]
) -> Repair:
    """Search for values by which the target meets its limits. Changes nothing in the project but DVC's cache.

    `live` is told what is being done, `told` of every candidate when it is known what came of it. RecastError for an
    unknown target, one that offers nothing, and a run that ends otherwise than by a stage that refuses its values.
    """
    began = time.monotonic()
    plan = make_plan(root, [recipe_of(wish.what)])
    target = plan.locate_target(wish.what)
    offer_call.entry_of(plan, target)
    file = root / RECIPES / f"{target.recipe}.yaml"
    text = file.read_text(encoding="utf-8")

    def out_of_time() -> bool:
        return wish.budget is not None and time.monotonic() - began > wish.budget

    live("copy the project")
    with copied(root, plan) as copy:
        place = Workplace(copy, target, text, lambda: interrupts.asked or out_of_time(), live)
        session = Session(place, wish, told)
        here = Path.cwd()
        os.chdir(copy)  # DVC takes names relative to the current folder
        try:
            found, stopped, written = session.run()
        finally:
            os.chdir(here)
    change = "".join(
        difflib.unified_diff(
            text.splitlines(keepends=True),
            written.splitlines(keepends=True),
            f"a/{RECIPES}/{file.name}",
            f"b/{RECIPES}/{file.name}",
        )
    )
    why = "" if not stopped else "interrupted" if interrupts.asked else "budget"
    return Repair(target, found, session.limits, why, change, text, written, time.monotonic() - began)


def write(root: Path, made: Repair) -> None:
    """Write the change into the recipe. RecastError if that is another than it was when the search began.

    Nor is a change written that was not verified with the recipe's own limits, since the search was stopped before.
    """
    if made.stopped:
        message = (
            "nothing was written: the search was stopped before what it chose was verified with the recipe's limits"
        )
        raise RecastError(message, "run it again: what was tried comes from the cache")
    file = root / RECIPES / f"{made.target.recipe}.yaml"
    if file.read_text(encoding="utf-8") != made.before:
        raise RecastError(f"{RECIPES}/{file.name} was edited meanwhile", "apply the diff by hand, or run it again")
    with replaced(file) as fresh:
        fresh.write_text(made.written, encoding="utf-8")


class Session:
    """One search in one copy."""

    def __init__(self, place: Workplace, wish: Wish, told: Callable[[Candidate], None]) -> None:
        self.place, self.wish, self.told = place, wish, told
        self.limits: tuple[Limit, ...] = ()
        self._stated = self.asked()  # nothing has run: what limits there are, and how verify does without
        self._last: Values | None = None

    def run(self) -> tuple[Found, bool, str]:
        """What was found, whether it was stopped before its end, and the recipe as it is to be written."""
        found = Found(offer=self._stated)
        try:
            search(found, self._evaluate, self._measure, self._ask, self.told)
            if found.chosen is not None:
                self._confirm(found.chosen)
        except Stopped:
            return found, True, self._written(found.chosen)
        return found, False, self._written(found.chosen)

    def _evaluate(self, says: tuple[str, ...], values: Values) -> Run:
        run = self.place.run(says, values, self._stated.without_limits)
        self._last = values
        return run

    def _measure(self, run: Run) -> Distance:
        self.limits = limits.asked(self._stated, run.metrics, self.wish.max_drop, self.wish.min_agreement)
        return limits.distance(self.limits, run.metrics)

    def _ask(self, values: Values) -> Offer:
        if self._last != values:
            self._evaluate((), values)  # from the cache
        return self.asked()

    def asked(self) -> Offer:
        """What the target offers now, as the recipe in the copy has it. Raises what `offer_call.ask` raises."""
        return offer_call.ask(self.place.root, self.place.plan(), self.place.target, self.place.live)

    def _confirm(self, chosen: Candidate) -> None:
        """Run the chosen candidate with the recipe's own limits, so that what is written is what was verified."""
        if not chosen.run.values:
            return  # nothing is written
        run = self.place.run(chosen.run.says, chosen.run.values, {})
        if run.refused:
            # limits of the command line may be wider than the recipe's, which then are still in the way
            raise RecastError(
                f"the best candidate meets what was asked for and not the recipe's own limits: {run.refused}",
                "give no wider limits than those under verify",
            )

    def _written(self, chosen: Candidate | None) -> str:
        text = self.place.text
        return (
            with_values(text, str(self.place.target.target), chosen.run.values)
            if chosen and chosen.run.values
            else text
        )
