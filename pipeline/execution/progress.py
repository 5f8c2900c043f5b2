"""The steps of a run and how far each has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import State
from recast.pipeline.execution.scheduler import remaining_path
from recast.pipeline.execution.task import Task
from recast.pipeline.planning.plan import reachable


class Progress:
    """What waits for what, what runs, and how what has ended came out."""

    def __init__(self, steps: Sequence[Step], tasks: Mapping[str, Task]) -> None:
        self.steps = {step.name: step for step in steps}
        self.tasks = tasks
        self.readers: dict[str, list[str]] = {step.name: [] for step in steps}
        self.followers: dict[str, list[str]] = {step.name: [] for step in steps}
        for step in steps:
            for read in step.reads:
                self.readers[read].append(step.name)
            for before in step.after:
                self.followers[before].append(step.name)
        known = [task.seconds for task in tasks.values() if task.seconds is not None]
        typical = sorted(known)[len(known) // 2] if known else 1.0
        self.seconds = {name: typical if task.seconds is None else task.seconds for name, task in tasks.items()}
        self.urgency = remaining_path(self.seconds, self.readers, list(self.steps))
        self.depth: dict[str, int] = {}
        """how many steps, at most, come one after the other before each"""
        for step in steps:
            self.depth[step.name] = 1 + max((self.depth[read] for read in step.reads), default=-1)
        self.left = {step.name: len(step.reads) + len(step.after) for step in steps}
        """steps that have not ended -> how many of those they wait for have not"""
        self.freed: list[str] = []
        """steps whose wait for a step that they do not depend on was the last"""
        self.current: set[str] = set()
        """steps that were up to date when the run began, as all that they read"""
        self.states: dict[str, State] = {}
        self.failed: dict[str, RecastError] = {}
        self.ready: list[str] = []
        self.running: dict[str, float] = {}
        """steps that run -> when they are expected to end"""
        self.tries: dict[str, int] = {}

    def title(self, name: str) -> str:
        """What users call the step."""
        return self.tasks[name].title

    def unfinished(self, but: str) -> list[Step]:
        """The other steps that have not ended."""
        return [self.steps[left] for left in self.left if left != but]

    def is_ready(self, name: str) -> None:
        """The step may run; the most urgent comes first."""
        self.ready.append(name)
        self.ready.sort(key=lambda name: -self.urgency[name])

    def end(self, name: str, state: State) -> list[str]:
        """The step has come to its last state; the steps whose inputs are final now."""
        self._leave(name)
        self.states[name] = state
        freed = []
        for reader in self.readers[name]:
            if reader in self.left:
                self.left[reader] -= 1
                if not self.left[reader] and state not in (State.FAILED, State.SKIPPED):
                    freed.append(reader)
        return freed

    def fail(self, name: str, error: RecastError) -> list[str]:
        """The step has failed; the steps that read it, directly or not, and cannot run any more."""
        self._leave(name)
        self.states[name] = State.FAILED
        self.failed[name] = error
        lost = reachable([name], self.readers.__getitem__)
        # one that was started before what it reads was looked at goes on: it read what was there
        return [reader for reader in self.left if reader in lost and reader not in self.running]

    def _leave(self, name: str) -> None:
        del self.left[name]
        for follower in self.followers[name]:
            if follower in self.left:
                self.left[follower] -= 1
                if not self.left[follower]:
                    self.freed.append(follower)
