"""A project of recipes, opened by a program."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.pipeline.api.model import Model
from recast.pipeline.core.address import recipe_of
from recast.pipeline.core.errors import RecastError, told
from recast.pipeline.core.layout import METRICS, find_root
from recast.pipeline.execution.events import Event, State
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes.tool_variables import SWITCHES

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ran:
    """How a run ended."""

    states: Mapping[str, State]
    """by id of the stage: `done`, `cached`, `up to date`, `failed` or `skipped`"""
    failed: Mapping[str, RecastError]
    """why, of each that failed"""

    def check(self) -> Ran:
        """Itself. Raises the first failure, if there is one."""
        for error in self.failed.values():
            raise error
        return self


def open_project(path: str | Path = ".") -> Project:
    """The project that the folder lies in: the nearest one above it, itself included, with recipes/ and params.yaml.

    Raises RecastError if there is none.
    """
    with contextlib.chdir(path):
        return Project(find_root())


class Project:
    """A project. What it does takes place in its folder, so one thread of a program at a time may call it.

    Every call raises RecastError for what its user can mend; RecipeError, which is one, holds every mistake in recipes
    with its place.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        # as the command line sets it for all that it starts: report nothing, look for no update
        for name, value in SWITCHES.items():
            os.environ.setdefault(name, value)

    def __repr__(self) -> str:
        return f"<recast.Project {str(self.root)!r}>"

    @property
    def recipes(self) -> tuple[str, ...]:
        """The names of its recipes, sorted; broken ones too."""
        from recast.pipeline.project.catalog import catalog

        return tuple(recipe.name for recipe in catalog(self.root).recipes)

    def plan(self, *recipes: str) -> Plan:
        """The stages of these recipes, or of all, in an order that runs. RecipeError if anything is wrong in one."""
        from recast.pipeline.planning.make_plan import make_plan

        with self._here():
            return make_plan(self.root, list(recipes) or None)

    def run(
        self,
        *recipes: str,
        targets: Sequence[str] = (),
        stages: Sequence[str] = (),
        on_event: Callable[[Event], None] = lambda event: None,
        jobs: int | None = None,
        force: bool = False,
        keep_going: bool = True,
        pull: bool = False,
        timeout: float | None = None,
    ) -> Ran:
        """What `recast run` does: bring these recipes, or all, up to date; or only these targets or stages of them.

        `on_event` is called with each `recast.Event` while the run goes on: a `Changed` when a stage comes to another
        state, a `Progress` for what it counts. `jobs`: stages at once, the cores of the machine unless given;
        `timeout`: seconds that a stage may take. A stage that fails raises nothing: see `Ran`. Ctrl-C in the main
        thread stops it, keeps what has finished, and raises KeyboardInterrupt.
        """
        from recast.pipeline.dvc import remembered
        from recast.pipeline.execution.start import run
        from recast.pipeline.execution.task import Options

        request = {"recipes": tuple(recipes), "targets": tuple(targets), "stages": tuple(stages)}
        options = Options(jobs or len(os.sched_getaffinity(0)), force, keep_going, pull, timeout=timeout)
        with self._here(), _interruptible() as interrupts:
            recalled = None if force else remembered.recall(self.root, request)
            if recalled and recalled.is_current:
                return Ran(dict.fromkeys(recalled.memory.stages, State.UP_TO_DATE), {})
            result = run(self.root, request, recalled, options, on_event, interrupts, lambda text: None).result
        return Ran(dict(result.states), dict(result.failed))

    def output(self, stage: str) -> Path:
        """The folder that a stage, `RECIPE[/TARGET]/STAGE`, has written. RecastError if it has not."""
        return self._output(self._stage(stage))

    def results(self, recipe: str) -> dict[str, dict[str, Any]]:
        """id of each stage of the recipe that has run -> what it measured, then: it may have been edited since."""
        plan = self.plan(recipe)
        found = {}
        for id in plan.recipes[recipe].ids:
            path = self.root / plan.stages[id].out / METRICS
            if path.is_file():
                try:
                    found[id] = json.loads(path.read_text(encoding="utf-8"))
                except ValueError as error:
                    raise RecastError(f"the metrics of {id} are no JSON: {error}", f"run {id} again") from error
        return found

    def arrays(self, stage: str, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of `NAME.npz` in a stage's output, as `arrays("digits/data", "test")`: of a split the samples `x`
        as they are stored, (N, *shape), and the truth `y`, (N, ...).

        Raises RecastError if there is no such file, if it holds anything but arrays, or without NumPy.
        """
        folder = self.output(stage)
        known = sorted(path.stem for path in folder.glob("*.npz"))
        if name not in known:
            remedy = f"it has: {', '.join(known)}" if known else "it has none; output() is its folder"
            raise RecastError(f"{stage} has no arrays named '{name}'", remedy)
        try:
            import numpy as np
        except ImportError as error:
            raise RecastError("NumPy is not installed in this Python", "install numpy") from error
        try:
            # an npz may not run code
            with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        # damage shows in whatever zipfile and numpy stumble over
        except Exception as error:
            raise RecastError(f"cannot read {name}.npz of {stage}: {told(error)}", f"run {stage} again") from error

    def model(self, what: str | Path, *, threads: int = 1) -> Model:
        """The emitted model of RECIPE/TARGET, or of a release at that path, to be called with samples.

        It runs in a process, in the environment of its target, which is built if need be. Use it in a `with`
        statement, or call its `close`. Raises RecastError if it has not been made, cannot be loaded, or if its
        target has no runtime here.
        """
        from recast.pipeline.processes import verb_call
        from recast.pipeline.release.served import is_release, served

        place = Path(what).resolve()
        with self._here():
            if is_release(place):
                artifacts = served(self.root, place, _nothing)
            else:
                artifacts = verb_call.artifacts_of(self.root, str(what), (), _nothing)
        predictor = artifacts["predictor"]
        if predictor and not Path(predictor["emitted"]).is_dir():
            recipe, target = artifacts["recipe"], artifacts["target"]
            raise RecastError(f"{recipe}/{target} has emitted nothing yet", f"run '{recipe}' for that target first")
        return Model(self.root, artifacts, threads)

    def _stage(self, text: str) -> PlannedStage:
        plan = self.plan(recipe_of(text))
        found = plan.locate(text)
        return plan.find(found.recipe, found.within)

    def _output(self, stage: PlannedStage) -> Path:
        folder = self.root / stage.out
        if not folder.is_dir():
            raise RecastError(f"{stage.id} has made nothing yet", f"run the recipe '{stage.recipe}' first")
        return folder

    def _here(self) -> contextlib.AbstractContextManager[None]:
        """DVC takes names relative to the current folder."""
        return contextlib.chdir(self.root)


def _nothing(text: str) -> None:
    """Nobody looks at what is said besides."""


@contextlib.contextmanager
def _interruptible() -> Iterator[Interrupts]:
    """Ctrl-C as the run looks at it: a second one does not end the program, as it does the command line's."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: interrupts.ask())
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
