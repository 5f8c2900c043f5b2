"""The runner of a plan whose stages run on an executor's workers; what is no stage of it still runs here."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Show
from recast.pipeline.execution.fleet import Fleet
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.stage_executor import StageExecutor, Submission, Work
from recast.pipeline.execution.stage_runner import PlanRunner
from recast.pipeline.execution.task import Task
from recast.pipeline.planning.plan import PlannedStage


class ElsewhereRunner(PlanRunner):
    """Gives each stage to the worker that the fleet has placed it on."""

    def __init__(self, *arguments: Any, executor: StageExecutor, machine: Machine, jobs: int, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._executor = executor
        self.fleet = Fleet(machine, jobs, executor)
        self._works: dict[str, Work] = {}
        self._submitted: set[Submission] = set()
        self._lock = threading.Lock()

    def task(self, step: Step) -> Task:
        found = super().task(step)
        return replace(found, need=replace(found.need, elsewhere=True)) if self.planned(step) else found

    def is_elsewhere(self, step: Step) -> bool:
        return self.planned(step) is not None

    def hand_over(self, step: Step, key: str, reads: dict[str, str], entries: dict[str, dict[str, Any]]) -> None:
        stage = self.planned(step)
        assert stage
        self._works[step.name] = Work(stage, key, reads, entries, timeout=self.timeout)

    def expect(self, steps: Sequence[Step], show: Show) -> None:
        """Environments are built where the stages run."""

    def prepare(self, step: Step) -> None:
        """As `expect`."""

    def _run_stage(self, stage: PlannedStage, gpus: Sequence[str], show: Show) -> float:
        name = stage.dvc_name
        submission = self._executor.submit(self._works[name], self.fleet.placed[name], show)
        with self._lock:
            self._submitted.add(submission)
        try:
            return submission.wait()
        finally:
            with self._lock:
                self._submitted.discard(submission)

    def stop(self) -> None:
        with self._lock:
            submitted = list(self._submitted)
        for submission in submitted:
            submission.cancel()
        super().stop()
