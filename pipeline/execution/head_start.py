"""Stages that run before DVC is imported: what is remembered shows that they must (`outlook`).

They are started as the executor starts them: with a claim on their files that other DVC processes see, their old
outputs removed, and what they read noted. The executor takes them over once DVC is there, and has DVC note what they
read; if that was edited meanwhile, they are run again.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recast.pipeline.dvc.early_claim import EarlyClaim
from recast.pipeline.dvc.remembered import Evidence, Known, Recalled, stamp
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Planned
from recast.pipeline.execution.outlook import Outlook
from recast.pipeline.execution.scheduler import Budget
from recast.pipeline.execution.shell_runner import ShellRunner
from recast.pipeline.execution.step_threads import RunEnded, StepThreads
from recast.pipeline.execution.task import Conditions, Runner, Task


@dataclass(frozen=True)
class Started:
    """A step that runs already."""

    step: Step
    task: Task
    reads: dict[str, str]
    """what it reads -> how that looked when it was started"""
    since: float


class HeadStart:
    """What was begun of a run before its executor. Leaving the context stops what no executor has taken over."""

    def __init__(self, conditions: Conditions, recalled: Recalled | None) -> None:
        self.threads = StepThreads()
        self.shells = ShellRunner(conditions.root, conditions.options.timeout)
        self.started: dict[str, Started] = {}
        self.shown: tuple[str, ...] = ()
        """the titles that were said to be in the run, if any were"""
        self._root = conditions.root
        self._options = conditions.options
        self._machine = conditions.machine
        self._show = conditions.show
        self._interrupts = conditions.interrupts
        self.is_taken_over = False
        """whether the executor ends what runs, and keeps it"""
        self._outlook: Outlook | None = None
        self._claim: EarlyClaim | None = None
        if recalled and recalled.memory.locks and not self._options.force and not self._options.pull:
            outlook = Outlook(self._root, recalled)
            if not outlook.is_void:
                self._outlook = outlook
                self._claim = EarlyClaim(Path(recalled.memory.locks))
        self._interrupts.then(self.threads.wake)
        self._interrupts.then(lambda: threading.Thread(target=self.shells.stop, daemon=True).start())

    def __enter__(self) -> HeadStart:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.is_taken_over:
            self._undo()
        self.shells.close()

    def begin_shells(self) -> None:
        """Start what the user's shell runs, if nothing was edited that a plan is made from."""
        if self._outlook and self._outlook.keeps_plan and self._outlook.still_holds():
            self._begin(self.shells, lambda known: known.by_shell)

    def begin(self, runner: Runner) -> None:
        """Start whatever must run; dvc.yaml matches the recipes now."""
        if self._outlook and self._outlook.still_holds():
            self._begin(runner, lambda known: True)

    def _begin(self, runner: Runner, may_start: Callable[[Known], bool]) -> None:
        assert self._outlook
        budget = Budget(self._machine, self._options.jobs)
        for name, started in self.started.items():
            budget.take(name, started.task.need)
        steps = {known.name: _step(known) for known in self._outlook.steps}
        tasks: dict[str, Task] = {}
        for known in self._outlook.steps:
            self._interrupts.check()
            if known.name in self.started or not may_start(known) or (reads := self._outlook.must_run(known)) is None:
                continue
            # all of them, since the runner shares processes among them
            tasks = tasks or {name: runner.task(step) for name, step in steps.items()}
            task = tasks[known.name]
            # which of the GPUs are taken the executor knows; a stage for which the machine is too small it refuses
            if task.need.gpu or self._machine.lacks(task.need) or not budget.fits(task.need):
                continue
            if not runner.is_as_before(steps[known.name]) or not self._has_claim():
                return
            self._start(runner, steps[known.name], task, known, reads)
            budget.take(known.name, task.need)

    def _has_claim(self) -> bool:
        if self.started:
            return True
        assert self._outlook
        reached = [known for known in self._outlook.steps if known.name in self._outlook.reached]
        reads = {str(self._root / path) for known in reached for path in known.files}
        writes = {str(self._root / path) for known in reached for path in known.outs}
        return self._claim is not None and self._claim.take(sorted(reads), sorted(writes))

    def _start(self, runner: Runner, step: Step, task: Task, known: Known, reads: dict[str, str]) -> None:
        assert self._outlook
        if not self.shown:
            self.shown = tuple(known.title for known in self._outlook.steps)
            self._show(Planned(self.shown))
        for path in known.outs:
            _remove(self._root / path)
        self.started[step.name] = Started(step, task, reads, time.monotonic())
        self.threads.start(step, (), runner)
        for event in self.threads.until_running(task.title):
            self._show(event)

    # -- for the executor

    def take_over(self) -> tuple[frozenset[str], Evidence]:
        """The steps that are known to be up to date, and what showed that; call it while DVC's lock is held.

        The claim is given back: the executor makes its own before it lets go of the lock.
        """
        if self._claim:
            self._claim.give_back()
        if not self._outlook or not self._outlook.still_holds():
            return frozenset(), Evidence()
        reached = self._outlook.reached
        return frozenset(known.name for known in self._outlook.steps) - reached, self._outlook.unreached()

    def is_as_it_was(self, name: str) -> bool:
        """Whether what a started step reads looks as it did when it was started."""
        return all(stamp(self._root / path) == seen for path, seen in self.started[name].reads.items())

    def _undo(self) -> None:
        """Stop what runs and take away what it has written."""
        self.shells.stop()
        running = set(self.started)
        while running:
            message = self.threads.get()
            if isinstance(message, RunEnded):
                running.discard(message.name)
        if self._outlook and self._claim:
            for known in self._outlook.steps:
                if known.name in self.started:
                    for path in known.outs:
                        _remove(self._root / path)
            self._claim.drop(lambda: time.sleep(0.1))


def _step(known: Known) -> Step:
    return Step(known.name, known.commands, known.reads, known.folder, known.after)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
