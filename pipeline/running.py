"""`recast run` from the request to the result: sync, what is asked for, the executor, what to remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import dvcfile, environments, up_to_date
from pipeline.budget import this_machine
from pipeline.dvc_repository import Repository
from pipeline.errors import RecastError, RecipeError
from pipeline.events import Message, Show, State
from pipeline.executor import Executor, Interrupts, Options, Result
from pipeline.explain import explain
from pipeline.layout import RECIPES
from pipeline.lockfile import LOCK, read_lock, write_lock
from pipeline.plan import Plan, make_plan, reachable
from pipeline.results import Rows, result_rows
from pipeline.run_lock import only_run
from pipeline.runner import PlanRunner
from pipeline.schema import SCHEMA, render_schema
from pipeline.sound_plan import make_sound_plan, warning
from pipeline.stage_process import sweep
from pipeline.stage_sections import sources_stamp
from stages.spelling import did_you_mean


@dataclass(frozen=True)
class Request:
    """What the user asks for: recipes (all if none is named), and perhaps some targets or stages of them only."""

    recipes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a run came to, with the rows of the tables that show it, by recipe."""

    result: Result
    tables: dict[str, Rows]


def run(
    root: Path,
    request: Request,
    options: Options,
    show: Show,
    interrupts: Interrupts,
    *,
    warm: bool = True,
    timeout: float | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Bring what is asked for up to date. Raises RecastError for what no stage is to blame for.

    `warn` is told of broken recipes that were not asked for, if some were; otherwise every recipe must be sound.
    """

    def say(text: str) -> None:
        show(Message(text))

    with only_run(root, say, interrupts.check, lambda: dvc_names(_plan(root, request), request)):
        with interrupts.at_once():
            sweep(root)
            sources = up_to_date.sources(root)
            stamp = sources_stamp(root)
            plan = _plan(root, request)
            targets = dvc_names(plan, request)
        if said := warning(plan):
            warn(said)
        sync(root, plan, say)
        with interrupts.at_once():
            repository = Repository(root, say, interrupts.check)
        try:
            with PlanRunner(root, plan, stamp, warm=warm, timeout=timeout) as runner:
                executor = Executor(repository, runner, this_machine(), options, show, interrupts)
                result = executor.run(targets, sources)
        finally:
            repository.close()
        unfinished = {id for id, state in result.states.items() if state in (State.FAILED, State.SKIPPED)}
        tables = {}
        if not request.stages:  # else most of what the table shows may be missing, or old
            recipes = request.recipes or tuple(plan.recipes)
            tables = {name: result_rows(root, plan, name, request.targets, unfinished) for name in recipes}
        # nothing came out of a recipe of which no target has anything to show
        tables = {name: rows for name, rows in tables.items() if any(set(row[1:]) != {"–"} for row in rows)}
        if result.evidence:
            memory = up_to_date.Memory(tuple(result.states), tuple(tables.items()), said)
            up_to_date.remember(root, asdict(request), result.evidence, memory)
        return Outcome(result, tables)


def _plan(root: Path, request: Request) -> Plan:
    """Of every recipe; others than those that were asked for may be broken."""
    return make_sound_plan(root, request.recipes) if request.recipes else make_plan(root)


def sync(root: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Bring what is generated from the recipes up to date: dvc.yaml, the schema, and device.txt if nobody chose yet.

    What is generated from what the plan leaves out stays as it is. Raises RecipeError for a target that is broken.
    """
    environments.device(root)
    try:
        if not schema_is_current(root):
            (root / SCHEMA).write_text(render_schema(root), encoding="utf-8")
            say(f"wrote {SCHEMA}")
    except RecipeError:
        if not plan.problems:
            raise
    if dvcfile.write(root, plan):
        say(f"wrote {dvcfile.DVCFILE}")
    forget_dropped_params(root, plan, say)


def forget_dropped_params(root: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Take those stages out of dvc.lock that were recorded with a param which no file holds any more.

    DVC compares the params that dvc.yaml lists, so it would call such a stage up to date: a mapping that was deleted
    from a recipe altogether would have no effect. Without an entry the stage is looked up in the run-cache, or runs.
    """
    recorded = read_lock(root / LOCK)["stages"]
    tracked = {stage.dvc_name: set(stage.tracked) for stage in plan.stages.values()}
    dropped = {
        name: keys
        for name, entry in recorded.items()
        if name in tracked and (keys := _recorded_params(entry) - tracked[name])
    }
    if not dropped:
        return
    repository = Repository(root, say)
    try:
        with repository.locked():
            document = read_lock(root / LOCK)
            kept = {name: entry for name, entry in document["stages"].items() if name not in dropped}
            write_lock(root / LOCK, {**document, "stages": kept})
    finally:
        repository.close()
    for name, keys in sorted(dropped.items()):
        gone = ", ".join(f"{key} of {file}" for file, key in sorted(keys))
        say(f"{name} is no longer up to date: {gone} is gone")


def _recorded_params(entry: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(file, key) for file, values in entry.get("params", {}).items() for key in values}


def schema_is_current(root: Path) -> bool:
    """Whether recipes/schema.json is what the stages give."""
    path = root / SCHEMA
    return path.exists() and path.read_text(encoding="utf-8") == render_schema(root)


def dvc_names(plan: Plan, request: Request) -> list[str]:
    """Names in dvc.yaml of what the request asks for. Raises RecastError for a name that there is not."""
    for name in request.recipes:
        if name not in plan.recipes:
            raise RecastError(f"no recipe named '{name}' in {RECIPES}/", did_you_mean(name, plan.recipes))
    recipes = tuple(dict.fromkeys(request.recipes)) or tuple(plan.recipes)
    if request.stages:
        targets = request.targets or (None,)
        pairs = [(target, stage) for stage in request.stages for target in targets]
        return _once(name for target, stage in pairs for name in _stages(plan, recipes, target, stage))
    if request.targets:
        return _once(name for target in request.targets for name in _target(plan, recipes, target))
    return list(recipes)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _target(plan: Plan, recipes: Sequence[str], target: str) -> list[str]:
    found = []
    for name in recipes:
        stages = plan.recipes[name].targets.get(target)
        if stages:
            read = {source for id in stages.values() for source in plan.stages[id].inputs.values()}
            found += [plan.stages[id].dvc_name for id in stages.values() if id not in read]
    if not found:
        known = {known for name in recipes for known in plan.recipes[name].targets}
        raise RecastError(f"no target named '{target}' in {', '.join(recipes)}", did_you_mean(target, known))
    return found


def _stages(plan: Plan, recipes: Sequence[str], target: str | None, stage: str) -> list[str]:
    found, refusal = [], None
    for name in recipes:
        # as it is shown everywhere
        address = stage.removeprefix(f"{name}/")
        if target is not None and "/" not in address:
            address = f"{target}/{address}"
        elif target is not None and not address.startswith(f"{target}/"):
            raise RecastError(f"'{stage}' is no stage of target '{target}'", "drop one of --target and --stage")
        try:
            found.append(plan.find(name, address).dvc_name)
        except RecastError as error:
            refusal = error
            # a trunk stage that the target shares with the others
            if target is not None and stage in plan.recipes[name].trunk:
                found.append(plan.find(name, stage).dvc_name)
    if not found and refusal:
        raise refusal
    return found


def states(root: Path, plan: Plan) -> dict[str, str]:
    """What a run would do with each stage of the plan, in the words of `explain.Verdict`. Runs nothing."""
    repository = Repository(root, lambda text: None)
    try:
        return {one.stage: one.verdict.value for one in explain(repository, plan, tuple(plan.stages))}
    finally:
        repository.close()


def needed(plan: Plan, recipes: Sequence[str], targets: Sequence[str]) -> Plan:
    """The part of the plan that the targets, names in dvc.yaml, need, shown as the recipes that were asked for."""
    ids = {stage.dvc_name: id for id, stage in plan.stages.items()}
    wanted = [id for name in targets for id in (plan.recipes[name].ids if name in plan.recipes else (ids[name],))]
    reached = reachable(wanted, lambda id: plan.stages[id].inputs.values())
    stages = {id: stage for id, stage in plan.stages.items() if id in reached}
    return Plan(stages, {name: recipe for name, recipe in plan.recipes.items() if not recipes or name in recipes})
