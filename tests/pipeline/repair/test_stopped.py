"""What is shown and written of a search that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.cli import repair as shown
from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.repair import repairing
from recast.pipeline.repair.candidate import Run, Stopped
from recast.pipeline.repair.limits import Distance
from recast.pipeline.repair.repairing import Repair, Wish, write
from recast.pipeline.repair.search import Candidate, Found
from recast.stages.repair import Choice, Limit, Offer, Setting, Values

LIMIT = Limit(name="min_agreement", metric="agreement", how="min", limit=0.9)
OFFER = Offer(
    settings=(Setting(name="ranges", choices=(Choice(says="other ranges", values={"calibrate": {"a": 1}}),)),),
    limits=(LIMIT,),
    without_limits={"verify": {"min_agreement": None}},
)


class Place:
    """A workplace whose run with the recipe's own limits is stopped; its candidates reach what they are told to."""

    text = "targets: {c: {}}\n"
    target = Address("base", "c")
    root = Path()

    def run(self, says: tuple[str, ...], values: Values, relaxed: Values) -> Run:
        if not relaxed:
            raise Stopped
        measured: dict[str, Any] = {"agreement": 0.95 if values else 0.8, "sqnr_db": 20.0, "metric": None}
        return Run(says, values, metrics=measured)


def test_a_stop_while_the_chosen_one_is_verified_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairing.Session, "asked", lambda self: OFFER)
    session = repairing.Session(Place(), Wish("base/c"), lambda candidate: None)  # type: ignore[arg-type]
    found, stopped, written = session.run()
    assert stopped and len(found.tried) == 2
    assert found.chosen is found.tried[1]
    assert written == "targets: {c: {calibrate: {a: 1}}}\n"


def test_what_was_not_verified_with_the_recipes_limits_is_said_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes/base.yaml"
    file.write_text(Place.text)
    run = Run(("other ranges",), {"calibrate": {"a": 1}}, metrics={"agreement": 0.95, "sqnr_db": 20.0})
    found = Found([Candidate(run, Distance((), 0.0))])
    stopped, whole = (
        Repair(Place.target, found, (LIMIT,), why, "a diff", Place.text, "targets: {}\n", 1.0) for why in ("budget", "")
    )
    (said,) = shown.conclusion(stopped)
    assert said.startswith("The time is over") and "not verified with the recipe's own limits" in said
    with pytest.raises(RecastError, match="nothing was written"):
        write(tmp_path, stopped)
    assert file.read_text() == Place.text
    write(tmp_path, whole)
    assert file.read_text() == "targets: {}\n"
    with pytest.raises(RecastError, match="edited meanwhile"):
        write(tmp_path, whole)
