"""Runs the stages of a plan by workers, and what else is in dvc.yaml by the user's shell, as DVC does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline import dvcfile, environments
from pipeline.budget import Need
from pipeline.dvc_repository import Step
from pipeline.errors import RecastError
from pipeline.events import Changed, Message, Progress, Show, State
from pipeline.executor import Task
from pipeline.layout import DEFAULTS, GUARD, RECIPES
from pipeline.plan import Plan, PlannedStage, make_plan
from pipeline.results import write_summary
from pipeline.shell import ShellRunner
from pipeline.sound_plan import make_sound_plan
from pipeline.stage_process import LOGS, read_timings, run_stage
from pipeline.workers import Workers

Stamp = tuple[tuple[str, int, int], ...]


class PlanRunner:
    """The executor's runner for a repository of recipes. Use it as a context manager: leaving it ends every process."""

    def __init__(
        self, root: Path, plan: Plan, stamp: Stamp, *, warm: bool = True, timeout: float | None = None
    ) -> None:
        """`stamp`: that of the recipes before the plan was made from them."""
        self.root = root
        self.timeout = timeout
        self._workers = Workers(root, warm=warm)
        self._shells = ShellRunner(root, timeout)
        self._left: dict[str, tuple[str, int]] = {}
        """stages that have not ended -> what they would share a warm process by"""
        self._warm: set[tuple[str, int]] = set()
        self._known = Plan({}, {})
        """the plan with what earlier ones had: of a recipe that broke since, a thread may be about to run a stage"""
        self._take(plan, stamp)

    def _take(self, plan: Plan, stamp: Stamp) -> None:
        self.plan = plan
        self._stamp = stamp
        self._known = Plan({**self._known.stages, **plan.stages}, {**self._known.recipes, **plan.recipes})
        self._planned = {stage.dvc_name: stage for stage in self._known.stages.values()}

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
        """Plan again if a recipe was edited while the run went on: a stage runs with what DVC has just noted.

        Raises RecastError if the step's own recipe cannot be planned any more, or needs another dvc.yaml.
        """
        stamp = sources_stamp(self.root)
        if stamp == self._stamp:
            self._refuse_broken(step)
            return True
        plan = make_sound_plan(self.root, ())
        if not dvcfile.is_current(self.root, plan):
            raise RecastError(
                "the recipes were changed while they ran, so that dvc.yaml no longer matches them",
                "run the command again: what finished is kept",
            )
        self._take(plan, stamp)
        self._refuse_broken(step)
        return False

    def _refuse_broken(self, step: Step) -> None:
        stage = self._stage(step)
        recipe = stage.recipe if stage else step.name
        if recipe in self.plan.broken:
            make_plan(self.root, [recipe])  # raises, for its problems

    def run(self, step: Step, gpus: Sequence[str], show: Show) -> float | None:
        """Run the step to its end; for a stage of the plan the seconds of its own process."""
        stage = self._stage(step)
        if stage:
            return self._run_stage(stage, gpus, show)
        if step.name == GUARD or step.name in self._known.recipes:
            show(Changed(step.name, State.RUNNING))
            if step.name == GUARD:
                dvcfile.pass_guard(self.root, self.plan)
            else:
                write_summary(self.root, self._known, step.name)
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
            self._known,
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

        return environments.ensure(self.root, stage.environment, say, partial(self._shells.call, log=log))

    def stop(self) -> None:
        """Stop every process of every step."""
        self._workers.close()
        self._shells.stop()


def _sharing(stage: PlannedStage) -> tuple[str, int]:
    return stage.environment, stage.params["resources"]["cpu"]


def sources_stamp(root: Path) -> Stamp:
    """Changes when a recipe, a target or the defaults are edited; to be taken before a plan is made from them."""
    paths = sorted([root / DEFAULTS, *(root / RECIPES).rglob("*")])
    found = [(path, path.stat(follow_symlinks=path.exists())) for path in paths]
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found)
