"""`recast run`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from recast.pipeline.cli.display import make_display
from recast.pipeline.cli.entered import enter_root, everything
from recast.pipeline.cli.looking_verbs import states_of
from recast.pipeline.cli.terminal import console, warn
from recast.pipeline.cli.verb import RECIPES_HELP, Add, Verb
from recast.pipeline.core.address import WITHIN_FORM
from recast.pipeline.core.errors import Exit
from recast.pipeline.dvc import remembered
from recast.pipeline.execution.events import Changed, Ended, Event, Planned, State
from recast.stages.common.argument_types import amount, natural, positive


def add_arguments(add: Add) -> None:
    """The verbs with their arguments."""
    run = add(
        "run",
        "run the stages that are not up to date, side by side, then show the results",
        example="recast run digits --target akida --target wasm",
        more="Leaves what `dvc repro` leaves: the same artifacts, dvc.lock and cache. Ctrl-C stops it and keeps what "
        "finished; a second one kills.",
    )
    run.add_argument("recipes", nargs="*", metavar="RECIPE", help=RECIPES_HELP)
    for option, metavar, what in (
        ("target", "TARGET", "only what this target needs, for example akida"),
        ("stage", WITHIN_FORM, "only this stage and what it needs, for example train or akida/emit"),
    ):
        help = f"{what}; give it again for several"
        run.add_argument(f"--{option}", metavar=metavar, action="append", default=[], dest=f"{option}s", help=help)
    run.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        default=len(os.sched_getaffinity(0)),
        help="stages at once, as far as their 'resources' fit this machine (%(default)s unless chosen); "
        "never changes how many threads a stage gets",
    )
    whether = run.add_mutually_exclusive_group()
    whether.add_argument("--force", action="store_true", help="run stages even if they are up to date")
    whether.add_argument(
        "--share",
        action="store_true",
        help="--pull and --push, and leave to other runs with the same remote what they run already: wait for it",
    )
    whether.add_argument(
        "--on",
        metavar="ADDRESS",
        default="",
        help="run the stages on workers: tcp://HOST:PORT of a Dask scheduler, or local:N for N of them here; does "
        "what --share does",
    )
    run.add_argument("--dry", action="store_true", help="show what would run, run nothing")
    failing = run.add_mutually_exclusive_group()
    failing.add_argument(
        "--keep-going",
        action="store_true",
        default=True,
        help="after a failure run everything that does not need the failed stage (the default)",
    )
    failing.add_argument(
        "--fail-fast", action="store_false", dest="keep_going", help="after a failure start nothing more"
    )
    run.add_argument(
        "--pull", action="store_true", help="fetch results that this machine lacks from the DVC remote before running"
    )
    run.add_argument(
        "--push",
        action="store_true",
        help="send each result to the DVC remote, with its run-cache entry, once it is there",
    )
    run.add_argument("--timeout", type=amount, metavar="SECONDS", help="let a stage fail that takes longer than this")
    run.add_argument("--retries", type=natural, metavar="N", default=0, help="try a failed stage again up to N times")
    run.add_argument(
        "--cold", action="store_true", help="start each stage's process from nothing instead of from a warm one"
    )
    run.add_argument("--json", action="store_true", help="one JSON object a line for each event, for machines")


def _run(options: argparse.Namespace) -> Exit:
    root = enter_root()
    names = {"recipes": options.recipes, "targets": options.targets, "stages": options.stages}
    request = {what: tuple(dict.fromkeys(given)) for what, given in names.items()}
    if options.dry:
        return _dry_run(root, request, options)
    started = time.monotonic()
    recalled = None if options.force else remembered.recall(root, request)
    shares = options.share or bool(options.on)
    # whether the remote has all of it is not remembered
    if recalled and recalled.is_current and not (options.push or shares):
        memory = recalled.memory
        with make_display(sys.stdout, json=options.json) as display:
            display.show(Planned(memory.stages))
            for stage in memory.stages:
                display.show(Changed(stage, State.UP_TO_DATE))
            display.show(Ended(time.monotonic() - started))
        warn(memory.warning)
        _show_tables(options, memory.tables)
        return Exit.DONE
    from recast.pipeline.execution.interrupts import Interrupts
    from recast.pipeline.execution.start import run
    from recast.pipeline.execution.task import Options

    chosen = Options(
        options.jobs,
        options.force,
        options.keep_going,
        options.pull or shares,
        options.push or shares,
        options.on,
        shares,
        retries=options.retries,
        warm=not options.cold,
        timeout=options.timeout,
    )
    with Interrupts() as interrupts, make_display(sys.stdout, json=options.json) as display:

        def show(event: Event) -> None:
            try:
                display.show(event)
            except BrokenPipeError:
                # as where make is piped into head: nobody looks any more, so the run stops in order
                _write_nowhere()
                interrupts.ask()

        outcome = run(root, request, recalled, chosen, show, interrupts, warn)
    _show_tables(options, outcome.tables.items())
    return Exit.STAGE_FAILED if outcome.result.failed or outcome.result.unpushed else Exit.DONE


def _write_nowhere() -> None:
    """Let what is still printed vanish: the reader of standard output has gone away."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show_tables(
    options: argparse.Namespace, tables: Iterable[tuple[str, tuple[str, Sequence[Sequence[str]]]]]
) -> None:
    if options.json:
        return
    from recast.pipeline.cli.table import show_table

    on = console()
    for recipe, (metric, rows) in tables:
        show_table(on, recipe, metric, rows)


def _dry_run(root: Path, request: Mapping[str, tuple[str, ...]], options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import plan_views
    from recast.pipeline.dvc.current import refuse_stale
    from recast.pipeline.execution.request import Request, dvc_names, needed

    plan = everything(root, options.recipes)
    targets = dvc_names(plan, Request(**request))
    part = needed(plan, options.recipes, targets)
    if options.force:
        states = dict.fromkeys(part.stages, plan_views.WOULD_RUN)
    else:
        refuse_stale(root, plan, part.stages.values())
        states = states_of(root, part)
    print(plan_views.as_json(part, states) if options.json else plan_views.as_text(part, states))
    return Exit.DONE


VERBS: dict[str, Verb] = {
    "run": _run,
}
