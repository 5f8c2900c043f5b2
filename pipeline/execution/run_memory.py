"""What is known at the end of a run, so that the next one need not ask DVC."""

from __future__ import annotations

from collections.abc import Collection, Container
from dataclasses import dataclass

from recast.pipeline.core.errors import StageFailed
from recast.pipeline.core.layout import DEVICE_STAGE, GUARD
from recast.pipeline.dvc.remembered import Evidence, Known
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Message, Show, State
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.execution.progress import Progress


@dataclass(frozen=True)
class Remembered:
    """How the steps of a run stand at its end."""

    evidence: Evidence
    """how everything looked that decides that, before it was looked at"""
    steps: tuple[Known, ...]
    runs: str
    locks: str

    @property
    def is_complete(self) -> bool:
        """Whether all are up to date."""
        return all(known.up_to_date for known in self.steps)


def remember(
    repository: Repository,
    progress: Progress,
    interrupts: Interrupts,
    show: Show,
    before: Evidence,
    seen: Evidence,
    known: Container[str],
) -> Remembered:
    """What to know the next time.

    If stages ran everything is looked at once more, since a file may have been edited meanwhile; all but what was
    known when the run began, and looks as it did then.
    """
    good = {name for name, state in progress.states.items() if state not in (State.FAILED, State.SKIPPED)}
    evidence = before
    with repository.locked():
        if any(state is not State.UP_TO_DATE for state in progress.states.values()):
            repository.write_locks()
            with interrupts.at_once():
                evidence = before.sources().with_seen(seen)
                repository.looks.add_evidence(evidence, list(progress.steps.values()))
                edited = seen.changed(repository.root) or ()
                changed = [
                    name
                    for name, step in progress.steps.items()
                    if name in good and _is_edited(repository, step, known, edited)
                ]
            good.difference_update(changed)
            # the guard looks at every recipe, those that were not run included, and nobody has to run it
            if titles := ", ".join(progress.title(name) for name in changed if name not in (GUARD, DEVICE_STAGE)):
                show(Message(f"edited while the run went on, so to be run again: {titles}"))
        steps = tuple(
            repository.looks.known(
                step,
                progress.title(name),
                by_shell=progress.tasks[name].by_shell,
                up_to_date=name in good,
                was_run=isinstance(progress.failed.get(name), StageFailed),
            )
            for name, step in progress.steps.items()
        )
        is_plain = repository.looks.is_plain(progress.steps.values())
        locks = repository.locks.plain_folder if is_plain else ""
    return Remembered(evidence, steps, repository.runs, locks)


def _is_edited(repository: Repository, step: Step, known: Container[str], edited: Collection[str]) -> bool:
    if step.name in known and repository.looks.paths(step).isdisjoint(edited):
        return False
    return repository.is_changed(step)
