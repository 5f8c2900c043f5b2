"""`recast run` from the request to the result: sync, what is asked for, the executor, what to remember.

DVC is imported no earlier than it is needed: stages may be running by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import of_another_clone
from recast.pipeline.dvc import remembered
from recast.pipeline.dvc.sync import sync
from recast.pipeline.execution.elsewhere import ElsewhereRunner
from recast.pipeline.execution.events import Message, State
from recast.pipeline.execution.head_start import HeadStart
from recast.pipeline.execution.request import Request, dvc_names
from recast.pipeline.execution.results import Results, result_table
from recast.pipeline.execution.stage_executor import Site, open_executor
from recast.pipeline.execution.stage_runner import PlanRunner
from recast.pipeline.execution.task import Conditions
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.partial_plan import make_sound_plan, warning
from recast.pipeline.planning.plan import Plan
from recast.pipeline.planning.stage_sections import Stamp, sources_stamp
from recast.pipeline.processes.stage_call import sweep
from recast.stages.providers import plugins

if TYPE_CHECKING:
    from recast.pipeline.execution.executor import Result

_START_WORKERS = "start some with 'recast worker ADDRESS', in checkouts at this commit"


@dataclass(frozen=True)
class Outcome:
    """What a run came to, with the tables that show it, by recipe."""

    result: Result
    tables: dict[str, Results]


def run(request: Request, conditions: Conditions, head_start: HeadStart, warn: Callable[[str], None]) -> Outcome:
    """Bring what is asked for up to date, after `beginning`. Raises RecastError for what no stage is to blame for."""

    def say(text: str) -> None:
        conditions.show(Message(text))

    root, interrupts = conditions.root, conditions.interrupts
    with interrupts.at_once():
        sweep(root)
        sources = remembered.sources(root, [plugin.package for plugin in plugins()])
        stamp = sources_stamp(root)
        plan = _plan(root, request)
        targets = dvc_names(plan, request)
    if said := warning(plan):
        warn(said)
    if problem := of_another_clone(root):
        raise problem
    sync(root, plan, say)
    with _runner(conditions, plan, stamp, head_start) as runner:
        head_start.begin(runner)
        with interrupts.at_once():
            from recast.pipeline.dvc.repository import Repository
            from recast.pipeline.execution.executor import Executor

            repository = Repository(root, say, interrupts.check)
        try:
            budget = runner.fleet if isinstance(runner, ElsewhereRunner) else None
            executor = Executor(repository, runner, conditions, head_start, budget)
            result = executor.run(targets, sources)
        finally:
            repository.close()
    unfinished = {id for id, state in result.states.items() if state in (State.FAILED, State.SKIPPED)}
    tables = {}
    if not request.stages:  # else most of what the table shows may be missing, or old
        recipes = request.recipes or tuple(plan.recipes)
        tables = {name: result_table(root, plan, name, request.targets, unfinished) for name in recipes}
    # nothing came out of a recipe of which no target has anything to show
    tables = {name: table for name, table in tables.items() if any(set(row[1:]) != {"–"} for row in table.rows)}
    if found := result.remembered:
        shown = tuple(result.states), tuple(tables.items()), said
        memory = remembered.Memory(*shown, found.steps, found.runs, found.locks, found.is_complete)
        remembered.remember(root, asdict(request), found.evidence, memory)
    return Outcome(result, tables)


@contextlib.contextmanager
def _runner(conditions: Conditions, plan: Plan, stamp: Stamp, head_start: HeadStart) -> Iterator[PlanRunner]:
    """Who runs the stages: this machine, or workers elsewhere."""
    root, options = conditions.root, conditions.options
    if not options.on:
        with PlanRunner(
            root, plan, stamp, warm=options.warm, timeout=options.timeout, shells=head_start.shells
        ) as runner:
            yield runner
        return
    with conditions.interrupts.at_once():
        site = Site(root, options.on, lambda text: head_start.threads.tell(Message(text)), head_start.threads.wake)
        executor = open_executor(site)
    try:
        if not executor.workers():
            why = "; ".join(f"worker {name}: {reason}" for name, reason in executor.refused().items())
            raise RecastError(f"no worker at {options.on} can be used{f': {why}' if why else ''}", _START_WORKERS)
        with ElsewhereRunner(
            root,
            plan,
            stamp,
            timeout=options.timeout,
            shells=head_start.shells,
            executor=executor,
            machine=conditions.machine,
            jobs=options.jobs,
        ) as elsewhere:
            yield elsewhere
    finally:
        executor.close()


def refuse_unknown(root: Path, request: Request) -> None:
    """RecastError if the request names what there is not, RecipeError if what it needs is broken."""
    dvc_names(_plan(root, request), request)


def _plan(root: Path, request: Request) -> Plan:
    """Of every recipe; others than those that were asked for may be broken."""
    return make_sound_plan(root, request.recipes) if request.recipes else make_plan(root)
