"""Runs the stages of a plan by workers, and what else is in dvc.yaml by the user's shell, as DVC does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline import dvcfile, environments
from pipeline.budget import Need
from pipeline.dvc_repository import Step
from pipeline.errors import Interrupted, RecastError, RecipeError
from pipeline.events import Changed, Message, Progress, Show, State
from pipeline.executor import Task
from pipeline.layout import GUARD
from pipeline.plan import Plan, PlannedStage
from pipeline.resolve import Resolver
from pipeline.results import write_summary
from pipeline.shell import ShellRunner
from pipeline.sound_plan import make_sound_plan
from pipeline.stage_process import LOGS, read_timings, run_stage
from pipeline.stage_sections import Sections, Stamp, sections, sources_stamp
from pipeline.workers import Workers

_AGAIN = "run the command again: what finished is kept"
# seconds without a change after which a file is taken to be written, and for how long that is waited for
_QUIET = 0.2
_WRITTEN_WITHIN = 3.0


class PlanRunner:
    """The executor's runner for a repository of recipes. Use it as a context manager: leaving it ends every process."""

    def __init__(
        self, root: Path, plan: Plan, stamp: Stamp, *, warm: bool = True, timeout: float | None = None
    ) -> None:
        """`stamp`: that of the recipes before the plan was made from them."""
        self.root = root
        self.timeout = timeout
        self._stopped = False
        self._workers = Workers(root, warm=warm)
        self._shells = ShellRunner(root, timeout)
        self._left: dict[str, tuple[str, int]] = {}
        """stages that have not ended -> what they would share a warm process by"""
        self._warm: set[tuple[str, int]] = set()
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

    def __enter__(self) -> PlanRunner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._shells.close()

    def task(self, step: Step) -> Task:
        """The stage's id as users write it, and its resources."""
        stage = self._stage(step)
        if stage is None:
            return self._shells.task(step)
        self._left[step.name] = _sharing(stage)
        if stage.id not in self._said:
            self._keep_said(stage, self._stamp)
        resources = stage.params["resources"]
        need = Need(resources["cpu"], resources["memory"] or 0.0, resources["gpu"])
        return Task(stage.id, need, read_timings(self.root, stage).get("seconds"))

    def ended(self, step: Step) -> None:
        """One stage fewer for which a warm process would be worth its start."""
        self._left.pop(step.name, None)

    def prepare(self, step: Step) -> None:
        """Begin to import the packages of its environment, if that is built and several stages will use them."""
        stage = self._stage(step)
        if stage and self._is_warm(stage) and not stage.params["resources"]["gpu"]:
            environment = environments.find(self.root, stage.environment)
            if environment.is_built:
                self._workers.prepare(environment, stage.params["resources"]["cpu"])
                self._warm.add(_sharing(stage))

    def _is_warm(self, stage: PlannedStage) -> bool:
        # for one stage alone a process started from nothing is quicker: it imports only what that stage needs
        if stage.isolated or stage.params["resources"]["isolated"]:
            return False
        sharing = _sharing(stage)
        return sharing in self._warm or sum(other == sharing for other in self._left.values()) > 1

    def _stage(self, step: Step) -> PlannedStage | None:
        """The plan's stage; None for the guard, a recipe's summary, and stages of the user's own."""
        return self._planned.get(step.name)

    def settle(self, step: Step) -> bool:
        """Read again what the recipes say of the stage if one was edited: it runs with what DVC has just noted.

        What was edited elsewhere is none of the step's business. Raises RecastError if the recipe no longer has the
        stage, or something is wrong with it, or dvc.yaml must be another for it.
        """
        stamp = sources_stamp(self.root)
        if stamp != self._stamps.get(step.name, self._stamp):
            self._stamps[step.name] = self._quiet(stamp)
            return False
        stage = self._stage(step)
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

        What this run does matches: its stages are compared one by one, by `settle`.
        """
        if sources_stamp(self.root) == self._stamp:
            dvcfile.pass_guard(self.root, self.plan)
            return
        try:
            dvcfile.pass_guard(self.root, make_sound_plan(self.root, ()))
        except RecastError:
            dvcfile.write_pass(self.root)
            self._unrecorded.add(GUARD)

    def run(self, step: Step, gpus: Sequence[str], show: Show) -> float | None:
        """Run the step to its end; for a stage of the plan the seconds of its own process."""
        stage = self._stage(step)
        if stage:
            return self._run_stage(stage, gpus, show)
        if step.name == GUARD or step.name in self.plan.recipes:
            show(Changed(step.name, State.RUNNING))
            if step.name == GUARD:
                self._pass_guard()
            else:
                write_summary(self.root, self.plan, step.name)
            return None
        return self._shells.run(step, gpus, show)

    def _run_stage(self, stage: PlannedStage, gpus: Sequence[str], show: Show) -> float:
        def live(text: str, done: int | None = None, total: int | None = None) -> None:
            show(Progress(stage.id, text, done, total))

        environment = self._environment(stage, show)
        if warm := self._is_warm(stage):
            self._warm.add(_sharing(stage))
        return run_stage(
            self.root,
            self.plan,
            stage,
            environment,
            live,
            self._workers,
            gpus=gpus,
            isolated=not warm,
            timeout=self.timeout,
            on_log=lambda path: show(Changed(stage.id, State.RUNNING, log=path)),
        )

    def _environment(self, stage: PlannedStage, show: Show) -> environments.Environment:
        environment = environments.find(self.root, stage.environment)
        if environment.is_built:
            return environment
        log = self.root / LOGS / "environments" / f"{environment.name}.log"
        show(Changed(stage.id, State.RUNNING, log=log.relative_to(self.root).as_posix()))

        def say(text: str) -> None:
            show(Message(text))
            show(Progress(stage.id, text))

        def waits() -> None:
            if self._stopped:
                raise Interrupted(f"the run was stopped before stage '{stage.id}' began")

        return environments.ensure(self.root, stage.environment, say, partial(self._shells.call, log=log), waits)

    def stop(self) -> None:
        """Stop every process of every step."""
        self._stopped = True
        self._workers.close()
        self._shells.stop()


def _sharing(stage: PlannedStage) -> tuple[str, int]:
    return stage.environment, stage.params["resources"]["cpu"]
