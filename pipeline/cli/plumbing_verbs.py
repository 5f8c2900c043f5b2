"""Verbs that other programs call: DVC, git, editors."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.cli.display import make_display
from recast.pipeline.cli.entered import enter_root
from recast.pipeline.cli.terminal import say, warn
from recast.pipeline.cli.verb import Add, Verb
from recast.pipeline.core.address import WITHIN_FORM
from recast.pipeline.core.errors import Exit, RecastError
from recast.pipeline.core.layout import DEVICE_WITHIN, GUARD, RECORD
from recast.pipeline.execution.events import Changed, Message, Progress, State

if TYPE_CHECKING:
    import psutil


def add_arguments(add: Add) -> None:
    """The verbs with their arguments."""
    stage = add(
        "stage",
        "run one stage now, whether or not it is up to date",
        example="recast stage digits akida/verify",
        more="This is the command dvc.yaml holds.",
    )
    stage.add_argument(
        "recipe", metavar="RECIPE", help=f"a recipe's name, or '{GUARD}' to check that dvc.yaml is current"
    )
    stage.add_argument(
        "stage",
        nargs="?",
        metavar=WITHIN_FORM,
        help="for example train or akida/verify; none gathers the recipe's results",
    )

    merge = add(
        "merge-lock",
        "merge two versions of dvc.lock stage by stage",
        example="recast merge-lock BASE OURS THEIRS",
        more="Git calls it; `recast share --fix` installs it.",
    )
    for name, what in (
        ("base", "the common ancestor"),
        ("ours", "our version, which the result replaces"),
        ("theirs", "theirs"),
    ):
        merge.add_argument(name, metavar=name.upper(), type=Path, help=what)

    schema = add(
        "schema", "write the JSON schema by which editors complete and check recipes", example="recast schema --stdout"
    )
    schema.add_argument("--stdout", action="store_true", help="print it instead of writing it into recipes/")


def _stage(options: argparse.Namespace) -> Exit:
    import threading

    from recast.pipeline.dvc import dvcfile, plugin_lock
    from recast.pipeline.dvc.stage_reads import StageReads
    from recast.pipeline.execution.results import write_summary
    from recast.pipeline.planning.make_plan import make_plan
    from recast.pipeline.planning.partial_plan import make_sound_plan, warning
    from recast.pipeline.planning.stage_sections import sources_stamp
    from recast.pipeline.processes import environments
    from recast.pipeline.processes.stage_call import StageProcess, sweep
    from recast.pipeline.processes.worker_pool import Workers

    root = enter_root()
    if options.recipe == GUARD and options.stage == DEVICE_WITHIN:
        environments.device(root)
        return Exit.DONE
    if options.recipe == GUARD and options.stage is None:
        sweep(root)
        # which recipe DVC is about to run is unknown; the stages of a broken one refuse it themselves
        plan = make_sound_plan(root, ())
        warn(warning(plan))
        if said := dvcfile.pass_guard(root, plan, plugin_lock.write):
            say(f"wrote {RECORD}, since other code is installed than it said: {said}")
        return Exit.DONE
    seen = sources_stamp(root)
    plan = make_plan(root, [options.recipe])
    if options.stage is None:
        dvcfile.refuse_stale_entry(root, options.recipe, dvcfile.recipe_entry(plan, options.recipe))
        print(f"{options.recipe}: results in {write_summary(root, plan, options.recipe).relative_to(root).as_posix()}")
        return Exit.DONE
    stage = plan.find(options.recipe, options.stage)
    reads = StageReads(root, plan, stage)
    if sources_stamp(root) != seen:
        raise RecastError("the recipes were edited just now", "run the command again")
    dvcfile.refuse_stale_entry(root, stage.dvc_name, dvcfile.stage_entry(plan, stage))
    plugin_lock.refuse_stale(root, [stage])
    threading.Thread(target=_end_with, args=(_caller(),), daemon=True).start()
    reads.refuse_damaged()
    environment = environments.ensure(root, stage.environment, say)
    with make_display(sys.stdout, json=False) as display:

        def live(text: str, done: int | None = None, total: int | None = None) -> None:
            display.show(Progress(stage.id, text, done, total))

        def on_log(path: str) -> None:
            display.show(Changed(stage.id, State.RUNNING, log=path))

        def on_note(text: str) -> None:
            display.show(Message(f"{stage.id}: {text}"))

        with Workers(root, warm=False) as workers:
            process = StageProcess(root, plan, stage, environment, live, on_log, on_note=on_note)
            seconds = process.run(workers).seconds
        reads.refuse_edited()
        display.show(Changed(stage.id, State.DONE, seconds=seconds))
    return Exit.DONE


def _caller() -> psutil.Process:
    """Who started this command; not the shell in between where that runs nothing else and would wait for us."""
    import psutil

    parent = psutil.Process(os.getppid())
    # DVC calls `$SHELL -c COMMAND`: bash makes way for the command, dash stays until it ends
    if "-c" in parent.cmdline()[1:] and (caller := parent.parent()):
        return caller
    return parent


def _end_with(process: psutil.Process) -> None:
    """A killed `dvc repro` cannot stop its stage; the stage must notice that it was left behind."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _merge_lock(options: argparse.Namespace) -> Exit:
    from recast.pipeline.dvc import lock_merge

    merged = lock_merge.merge_files(options.base, options.ours, options.theirs)
    if text := lock_merge.as_text(merged):
        print(text, file=sys.stderr)
    return Exit.DONE


def _schema(options: argparse.Namespace) -> Exit:
    from recast.pipeline.planning.schema import SCHEMA, render_schema

    root = enter_root()
    if options.stdout:
        print(render_schema(root), end="")
    else:
        (root / SCHEMA).write_text(render_schema(root), encoding="utf-8")
        print(f"wrote {SCHEMA}")
    return Exit.DONE


VERBS: dict[str, Verb] = {
    "stage": _stage,
    "merge-lock": _merge_lock,
    "schema": _schema,
}
