"""Runs the stages of a plan by workers, and what else is in dvc.yaml by the user's shell, as DVC does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError, RecipeError
from recast.pipeline.core.layout import DEVICE_STAGE, GUARD
from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Changed, Show, State
from recast.pipeline.execution.local_executor import HERE, LocalExecutor
from recast.pipeline.execution.results import write_summary
from recast.pipeline.execution.scheduler import Need
from recast.pipeline.execution.shell_runner import ShellRunner
from recast.pipeline.execution.stage_executor import Work
from recast.pipeline.execution.task import Task
from recast.pipeline.planning.partial_plan import make_sound_plan
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.planning.resolve import Resolver
from recast.pipeline.planning.stage_sections import Sections, Stamp, sections, sources_stamp
from recast.pipeline.processes import environments
from recast.pipeline.processes.stage_call import read_timings

_AGAIN = "run the command again: what finished is kept"
# seconds without a change after which a file is taken to be written, and for how long that is waited for
_QUIET = 0.2
_WRITTEN_WITHIN = 3.0


class PlanRunner:
    """The executor's runner for a repository of recipes. Use it as a context manager: leaving it ends every process."""

    def __init__(
        self,
        root: Path,
        plan: Plan,
        stamp: Stamp,
        *,
        warm: bool = True,
        timeout: float | None = None,
        shells: ShellRunner | None = None,
    ) -> None:
        """`stamp`: that of the recipes before the plan was made from them; `shells` may already run something."""
        self.root = root
        self.timeout = timeout
        self._here = LocalExecutor(root, plan, warm=warm)
        self._shells = shells or ShellRunner(root, timeout)
        self.plan = plan
        self._planned = {stage.dvc_name: stage for stage in plan.stages.values()}
        """by their names in dvc.yaml; those of an edited recipe with the values they are run with"""
        self._stamp = stamp
        self._stamps: dict[str, Stamp] = {}
        """steps -> what the stamp was when they were settled last"""
        self._written: set[Stamp] = set()
        self._said: dict[str, Sections | None] = {}
        """stages, by id -> what the files say of them, as the values that they are run with were made from it"""
        self._edited: dict[str, tuple[Stamp, Resolver]] = {}
        """recipes that were edited since the run began -> what they say now"""
        self._unrecorded: set[str] = set()
        self._held: dict[str, Mapping[str, int]] = {}
        """steps that have ended -> the code that they had imported before it was edited, and when that was last"""

    def __enter__(self) -> PlanRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._shells.close()

    def task(self, step: Step) -> Task:
        """The stage's id as users write it, and its resources."""
        stage = self.planned(step)
        if stage is None:
            return Task(step.name, by_shell=not self._is_ours(step))
        self._here.will_run(stage)
        if stage.id not in self._said:
            self._keep_said(stage, self._stamp)
        resources = stage.params["resources"]
        labels = tuple(sorted(stage.labels.items()))
        need = Need(resources["cpu"], resources["memory"] or 0.0, resources["gpu"], labels)
        return Task(stage.id, need, read_timings(self.root, stage).get("seconds"), by_shell=False)

    def ended(self, step: Step) -> None:
        """One stage fewer for which a warm process would be worth its start."""
        self._here.ended(step.name)

    def expect(self, steps: Sequence[Step], show: Show) -> None:
        """Begin to build their environments."""
        self._here.expect(list(filter(None, map(self.planned, steps))), show)

    def prepare(self, step: Step) -> None:
        """Begin to import the packages of its environment, if that is built and several stages will use them."""
        if stage := self.planned(step):
            self._here.prepare(stage)

    def planned(self, step: Step) -> PlannedStage | None:
        """The plan's stage, with the values it is run with.

        None for the guard, device.txt, a recipe's summary, and stages of the user's own.
        """
        return self._planned.get(step.name)

    def _is_ours(self, step: Step) -> bool:
        """Whether it is done in this process: the guard, device.txt, and what gathers a recipe's results."""
        return step.name in (GUARD, DEVICE_STAGE) or step.name in self.plan.recipes

    def is_as_before(self, step: Step) -> bool:
        """Read again what the recipes say of the stage if one was edited: it runs with what DVC has just noted.

        What was edited elsewhere is none of the step's business. Raises RecastError if the recipe no longer has the
        stage, or something is wrong with it, or dvc.yaml must be another for it.
        """
        stamp = sources_stamp(self.root)
        if stamp != self._stamps.get(step.name, self._stamp):
            self._stamps[step.name] = self._quiet(stamp)
            return False
        stage = self.planned(step)
        if stage and stamp != self._stamp:
            self._planned[step.name] = self._as_edited(stage, stamp)
            # or what was just read may be newer than what DVC has noted
            return sources_stamp(self.root) == stamp
        return True

    def _quiet(self, stamp: Stamp) -> Stamp:
        """The stamp once an editor has written all of it: some empty a file first, or take it away."""
        if stamp not in self._written:
            deadline = time.monotonic() + _WRITTEN_WITHIN
            while time.monotonic() < deadline:
                time.sleep(_QUIET)
                if stamp == (stamp := sources_stamp(self.root)):
                    break
            self._written.add(stamp)
        return stamp

    def _as_edited(self, stage: PlannedStage, stamp: Stamp) -> PlannedStage:
        """The stage with the values that its recipe gives it now."""
        said = self._said.get(stage.id)
        if said is not None and sections(self.root, stage) == said:
            return stage
        if self._edited.get(stage.recipe, (None,))[0] != stamp:
            self._edited[stage.recipe] = stamp, Resolver(self.root)
            self._edited[stage.recipe][1].add([stage.recipe])
        _, edited = self._edited[stage.recipe]
        now = edited.stages.get(stage.id)
        if now is None:
            if edited.problems:
                raise RecipeError(edited.problems)
            raise RecastError(f"recipe '{stage.recipe}' was edited while it ran: it no longer has '{stage.id}'", _AGAIN)
        plan = Plan({**self.plan.stages, **edited.stages}, {})
        if dvcfile.stage_entry(plan, now) != dvcfile.stage_entry(self.plan, self.plan.stages[stage.id]):
            message = f"recipe '{stage.recipe}' was edited while it ran: dvc.yaml no longer matches '{stage.id}'"
            raise RecastError(message, _AGAIN)
        if now.digests != stage.digests:
            raise RecastError(f"the installed code of '{stage.id}' was changed meanwhile", _AGAIN)
        self._keep_said(stage, stamp)
        return now

    def _keep_said(self, stage: PlannedStage, stamp: Stamp) -> None:
        """Note what the files say of a stage whose values were made from files of this stamp, if they still have it."""
        said = sections(self.root, stage)
        if sources_stamp(self.root) == stamp:
            self._said[stage.id] = said

    def records(self, step: Step) -> bool:
        """Not the guard, if dvc.yaml no longer matches a recipe that was edited since this run has written it."""
        return step.name not in self._unrecorded

    def _pass_guard(self) -> None:
        """Let the run go on; for DVC the guard has passed only if dvc.yaml matches the recipes as they are now.

        What this run does matches: its stages are compared one by one, by `is_as_before`.
        """
        if sources_stamp(self.root) == self._stamp:
            dvcfile.pass_guard(self.root, self.plan)
            return
        try:
            dvcfile.pass_guard(self.root, make_sound_plan(self.root, ()))
        except RecastError:
            dvcfile.write_pass(self.root)
            self._unrecorded.add(GUARD)

    def held(self, step: Step) -> Mapping[str, int] | None:
        """Code that was imported before it was edited; for the guard `records` looks."""
        return None if step.name == GUARD else self._held.get(step.name, {})

    def is_elsewhere(self, step: Step) -> bool:
        """All run here."""
        return False

    def hand_over(self, step: Step, key: str, reads: dict[str, str], entries: dict[str, dict[str, Any]]) -> None:
        """Never asked for."""
        raise NotImplementedError

    def run(self, step: Step, gpus: Sequence[str], show: Show) -> float | None:
        """Run the step to its end; for a stage of the plan the seconds of its own process."""
        stage = self.planned(step)
        if stage:
            return self._run_stage(stage, gpus, show)
        if self._is_ours(step):
            show(Changed(step.name, State.RUNNING))
            if step.name == GUARD:
                self._pass_guard()
            elif step.name == DEVICE_STAGE:
                environments.device(self.root)
            else:
                write_summary(self.root, self.plan, step.name)
            return None
        return self._shells.run(step, gpus, show)

    def _run_stage(self, stage: PlannedStage, gpus: Sequence[str], show: Show) -> float:
        submission = self._here.submit(Work(stage, gpus=tuple(gpus), timeout=self.timeout), HERE, show)
        seconds = submission.wait()
        self._held[stage.dvc_name] = submission.held
        return seconds

    def stop(self) -> None:
        """Stop every process of every step."""
        self._here.close()
        self._shells.stop()
