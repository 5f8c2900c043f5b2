"""Environments ahead of the stages that need them: in their order, in no stage's way, and none that nobody needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recast.pipeline.core.errors import EnvironmentNotBuilt, Interrupted
from recast.pipeline.execution.environment_builder import EnvironmentBuilder
from recast.pipeline.execution.events import Building, Event
from recast.pipeline.processes import environments
from tests.lib.drive import wait_until
from tests.lib.small_environment import SMALL, Slow, folders, lay

pytestmark = pytest.mark.usefixtures("own_home")


class Run:
    """A builder for a repository with an environment that is built in a second, one like it, and one that never is."""

    def __init__(self, root: Path) -> None:
        self.slow = Slow(root / "a package")
        self.root = lay(lay(lay(root), SMALL + "# another\n", "other"), self.slow.pins, "slow")
        self.events: list[Event] = []
        self.builder = EnvironmentBuilder(root)

    def expect(self, *names: str) -> None:
        self.builder.expect(names, self.events.append)

    def get(self, name: str) -> environments.Environment:
        return self.builder.get(name, self.events.append, lambda: None)

    def is_built(self, name: str) -> bool:
        return environments.find(self.root, name).is_built

    def begins_the_slow_one(self) -> None:
        self.expect("slow")
        wait_until(lambda: self.slow.process is not None, "uv builds the package")

    def said(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Building) and event.text]

    def ends(self) -> list[str]:
        return [event.environment for event in self.events if isinstance(event, Building) and event.ended]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    ours = Run(tmp_path)
    yield ours
    ours.builder.stop()
    assert ours.slow.process is None


def test_what_is_expected_is_built_in_order_and_then_compiled(run):
    run.expect("other", "small")
    wait_until(lambda: run.ends() == ["other", "small"], "both were built")
    found = run.get("small")
    assert found.is_built and run.get("small") == found
    for name in ("other", "small"):
        wait_until(lambda name=name: environments.find(run.root, name).is_compiled, "both were compiled")
    assert [text.partition(" (")[0] for text in run.said()[::2]] == [
        "building the environment 'other'",
        "building the environment 'small'",
    ]


def test_a_stage_whose_turn_has_come_waits_for_no_other_environment(run):
    run.begins_the_slow_one()
    assert run.get("small").is_built
    run.builder.stop()
    assert run.slow.process is None and [path.name for path in folders()] == [run.get("small").directory.name]
    with pytest.raises(Interrupted):
        run.get("slow")


def test_a_stage_waits_for_what_is_being_built_and_can_be_stopped(run):
    run.begins_the_slow_one()
    asked: list[int] = []

    def waits() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        run.builder.get("slow", run.events.append, waits)


def test_what_no_stage_needs_any_more_is_given_up(run):
    run.begins_the_slow_one()
    run.expect("other", "small")
    run.builder.drop("other")
    run.builder.drop("slow")
    wait_until(lambda: run.is_built("small"), "what is still needed is built")
    assert "stopped building the environment 'slow', which no stage needs any more" in run.said()
    assert run.slow.process is None and not run.is_built("other")
    # needed again, it is built after all
    assert run.get("other").is_built


def test_one_that_cannot_be_built_is_tried_once_and_fails_whoever_needs_it(run):
    run.slow.breaks()
    run.expect("slow", "small")
    wait_until(lambda: run.is_built("small"), "the next was built")
    for _ in range(2):
        with pytest.raises(EnvironmentNotBuilt, match="the environment 'slow' could not be installed"):
            run.get("slow")
    assert sum("building the environment 'slow'" in text for text in run.said()) == 1
    assert any("could not be installed" in text for text in run.said())


def test_the_end_of_a_run_cuts_what_is_being_compiled_and_the_next_takes_it_up(run, monkeypatch):
    begun = threading.Event()

    def never_ends(_: environments.Environment, say: object, gives_way: Callable[[], None], *, beside: bool) -> None:
        begun.set()
        while True:
            gives_way()
            time.sleep(0.01)

    with monkeypatch.context() as slowly:
        slowly.setattr(environments, "finish", never_ends)
        found = run.get("small")
        wait_until(begun.is_set, "it is being compiled")
        run.builder.stop()
    assert found.is_built and not found.is_compiled
    run.builder = EnvironmentBuilder(run.root)
    run.get("small")
    wait_until(lambda: found.is_compiled, "it is compiled by another run")
    assert len(run.ends()) == 1
