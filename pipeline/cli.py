"""The command line: the only module that prints and exits.

Each verb imports what it needs: `recast run` with nothing to do must not pay for DVC, pydantic and the rest.
"""

from __future__ import annotations

import argparse
import atexit
import io
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from pipeline import arguments, up_to_date
from pipeline.display import make_display
from pipeline.errors import Exit, RecastError, RecipeError
from pipeline.events import Changed, Ended, Event, Planned, Progress, State
from pipeline.layout import GUARD, RECIPES, find_root
from pipeline.tool_variables import SWITCHES

if TYPE_CHECKING:
    import psutil

    from pipeline.plan import Plan

# what a name or a message of others may hold that is no text
_COMMANDS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
# where a line says who speaks, or which file it is about
_LINE = re.compile(r"^(recast: (?P<warning>warning:)?|[^ :]+:\d+:\d+:)")


def main(given: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of `errors.Exit`."""
    options = arguments.parse(sys.argv[1:] if given is None else list(given), _VERBS, _registered)
    signal.signal(signal.SIGTERM, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a locale that lacks a character of a name must not end a verb
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.update(SWITCHES)
    try:
        sys.exit(options.verb(options))
    except RecipeError as error:
        count = len(error.problems)
        _fail(f"{error}\nrecast: {count} problem{'s' if count > 1 else ''}, nothing was run", error.exit_code)
    except RecastError as error:
        _fail(f"recast: {error}", error.exit_code)
    except KeyboardInterrupt:
        _fail("recast: interrupted; what had finished is kept", Exit.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away; nothing is left to say
        sys.exit(Exit.DONE)
    except OSError as error:
        _keep_traceback()
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"recast: {place}{error.strerror}; see that it can be read and written, and has space", Exit.BAD_INPUT)
    except Exception as error:
        _fail(f"recast: a bug of Recast: {type(error).__name__}: {error}\n{_keep_traceback()}", Exit.BUG)
    finally:
        # DVC's import asks that colours be reset at the end: an escape on every terminal, even on one that has none
        if colorama := sys.modules.get("colorama.initialise"):
            atexit.unregister(colorama.reset_all)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(text: str, code: Exit) -> NoReturn:
    _print_error(text)
    sys.exit(code)


def _print_error(text: str) -> None:
    """On standard error, without what would command the terminal; on a terminal that can, what matters is coloured."""
    plain = _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)
    print(_coloured(plain) if _shows_colour() else plain, file=sys.stderr)


def _shows_colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _coloured(text: str) -> str:
    """The beginning of each line that says where, and of ours, in bold; what is wrong in red, a warning in yellow."""
    return "\n".join(_LINE.sub(_in_colour, line) for line in text.split("\n"))


def _in_colour(found: re.Match[str]) -> str:
    is_warning = found["warning"] is not None
    return f"\x1b[1;{33 if is_warning else 31}m{found[0]}\x1b[0m"


def _keep_traceback() -> str:
    """Write the traceback where a report of the bug can take it from; says where that is."""
    try:
        folder = find_root() / ".recast" / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "bug.log"
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except (OSError, RecastError):
        return "please report it, with what you ran"
    return f"please report it, with what you ran and {path}"


def _enter_root() -> Path:
    """The repository's root, entered: DVC takes names relative to the current directory."""
    root = find_root()
    os.chdir(root)
    return root


def _warn(text: str) -> None:
    if text:
        _print_error(text)


def _everything(root: Path, wanted: Sequence[str]) -> Plan:
    """The plan of every recipe, for a verb that works on the wanted ones; with some wanted, others may be broken."""
    from pipeline.plan import make_plan
    from pipeline.sound_plan import make_sound_plan, warning

    if not wanted:
        return make_plan(root)
    plan = make_sound_plan(root, wanted)
    _warn(warning(plan))
    return plan


def _plan_of(options: argparse.Namespace) -> tuple[Path, Plan]:
    from pipeline.plan import make_plan

    root = _enter_root()
    return root, make_plan(root, options.recipes or None)


def _check(options: argparse.Namespace) -> Exit:
    _, plan = _plan_of(options)
    for recipe in plan.recipes.values():
        shared = [id for id in recipe.ids if plan.stages[id].recipe != recipe.name]
        more = f", {len(shared)} of them shared" if shared else ""
        print(
            f"{RECIPES}/{recipe.name}.yaml: sound; {len(recipe.ids)} stages{more}; targets: {', '.join(recipe.targets)}"
        )
    return Exit.DONE


def _plan(options: argparse.Namespace) -> Exit:
    from pipeline import views

    root, plan = _plan_of(options)
    states: dict[str, str] = {}
    if not options.no_status:
        _refuse_stale(root, _everything(root, options.recipes) if options.recipes else plan, "or add --no-status")
        states = _states(root, plan)
    render = {"text": views.as_text, "json": views.as_json, "mermaid": views.as_mermaid}[options.format]
    print(render(plan, states))
    return Exit.DONE


def _states(root: Path, plan: Plan) -> dict[str, str]:
    """What a run would do, by stage; DVC is asked, so dvc.yaml must be current."""
    from pipeline import environments, running

    environments.device(root)
    return running.states(root, plan)


def _refuse_stale(root: Path, everything: Plan, otherwise: str = "") -> None:
    """RecastError unless dvc.yaml matches the plan of all recipes."""
    from pipeline import dvcfile

    if not dvcfile.is_current(root, everything):
        message = "dvc.yaml does not match the recipes, so what would run is unknown"
        raise RecastError(message, ", ".join(filter(None, [dvcfile.sync_remedy(everything), otherwise])))


def _explain(options: argparse.Namespace) -> Exit:
    from pipeline import cpu_kind, environments, explain
    from pipeline.dvc_repository import Repository

    root = _enter_root()
    plan = _everything(root, [options.what.strip("/").partition("/")[0]])
    _, ids = explain.wanted(plan, options.what)
    _refuse_stale(root, plan)
    environments.device(root)
    repository = Repository(root, _say)
    try:
        explanations = explain.explain(repository, plan, ids)
    finally:
        repository.close()
    measured = [one.stage for one in explanations if one.cpu]
    here = cpu_kind.of_this_machine(root, dict.fromkeys(plan.stages[id].environment for id in measured))
    print(explain.as_json(explanations, here) if options.json else explain.as_text(explanations, here))
    return Exit.DONE


def _blame(options: argparse.Namespace) -> Exit:
    from pipeline import blame, cpu_kind
    from pipeline.plan import make_plan

    root = _enter_root()
    recipe, slash, target = options.what.partition("/")
    plan = make_plan(root, [recipe])
    if not slash:
        known = ", ".join(f"{recipe}/{name}" for name in plan.recipes[recipe].targets)
        raise RecastError(f"'{options.what}' names no target", f"for example: {known}")
    report = blame.blame(root, plan, recipe, target)
    verify = plan.stages[plan.recipes[recipe].targets[target][blame.VERIFY]]
    here = cpu_kind.of_this_machine(root, [verify.environment]) if report.cpu else ""
    print(blame.as_json(report, here) if options.json else blame.as_text(report, here))
    return Exit.DONE


def _registered(options: argparse.Namespace) -> Exit:
    """Become the process of a verb of `stages.registry`: signals, exit code and terminal are then its own."""
    from pipeline import target_verb

    here = Path.cwd()
    call = target_verb.call(_enter_root(), options.name, vars(options), lambda text: print(text, file=sys.stderr))
    os.chdir(here)  # files are named as the user sees them
    os.execve(call.program, call.arguments, call.variables)


def _sync(options: argparse.Namespace) -> Exit:
    from pipeline import dvcfile, running
    from pipeline.plan import make_plan
    from pipeline.schema import SCHEMA

    root = _enter_root()
    plan = make_plan(root)
    if options.check:
        if not dvcfile.is_current(root, plan):
            raise RecastError("dvc.yaml does not match the recipes", "run './recast sync' and commit dvc.yaml")
        if not running.schema_is_current(root):
            raise RecastError(f"{SCHEMA} does not match the stages", f"run './recast sync' and commit {SCHEMA}")
        print("dvc.yaml and the schema match the recipes")
        return Exit.DONE
    running.sync(root, plan, print)
    return Exit.DONE


def _run(options: argparse.Namespace) -> Exit:
    root = _enter_root()
    names = {"recipes": options.recipes, "targets": options.targets, "stages": options.stages}
    request = {what: tuple(dict.fromkeys(given)) for what, given in names.items()}
    if options.dry:
        return _dry_run(root, request, options)
    started = time.monotonic()
    if not options.force and (memory := up_to_date.recall(root, request)):
        with make_display(sys.stdout, json=options.json) as display:
            display.show(Planned(memory.stages))
            for stage in memory.stages:
                display.show(Changed(stage, State.UP_TO_DATE))
            display.show(Ended(time.monotonic() - started))
        _warn(memory.warning)
        _show_tables(options, memory.tables)
        return Exit.DONE
    from pipeline.executor import Interrupts, Options
    from pipeline.running import Request, run

    chosen = Options(options.jobs, options.force, options.keep_going, options.pull, options.retries)
    with Interrupts() as interrupts, make_display(sys.stdout, json=options.json) as display:

        def show(event: Event) -> None:
            try:
                display.show(event)
            except BrokenPipeError:
                # as where make is piped into head: nobody looks any more, so the run stops in order
                _write_nowhere()
                interrupts.ask()

        outcome = run(
            root,
            Request(**request),
            chosen,
            show,
            interrupts,
            warm=not options.cold,
            timeout=options.timeout,
            warn=_warn,
        )
    _show_tables(options, outcome.tables.items())
    return Exit.STAGE_FAILED if outcome.result.failed else Exit.DONE


def _write_nowhere() -> None:
    """Let what is still printed vanish: the reader of standard output has gone away."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show_tables(options: argparse.Namespace, tables: Iterable[tuple[str, Sequence[Sequence[str]]]]) -> None:
    if options.json:
        return
    from rich.console import Console

    from pipeline.table import show_table

    # outside a terminal a path must stay in one piece, whatever width rich assumes
    console = Console() if sys.stdout.isatty() else Console(width=160)
    for recipe, rows in tables:
        show_table(console, recipe, rows)


def _dry_run(root: Path, request: Mapping[str, tuple[str, ...]], options: argparse.Namespace) -> Exit:
    from pipeline import running, views

    plan = _everything(root, options.recipes)
    targets = running.dvc_names(plan, running.Request(**request))
    part = running.needed(plan, options.recipes, targets)
    if options.force:
        states = dict.fromkeys(part.stages, views.WOULD_RUN)
    else:
        _refuse_stale(root, plan)
        states = _states(root, part)
    print(views.as_json(part, states) if options.json else views.as_text(part, states))
    return Exit.DONE


def _stage(options: argparse.Namespace) -> Exit:
    import threading

    from pipeline import dvcfile, environments
    from pipeline.plan import make_plan
    from pipeline.results import write_summary
    from pipeline.sound_plan import make_sound_plan, warning
    from pipeline.stage_process import run_stage, sweep
    from pipeline.stage_reads import StageReads
    from pipeline.stage_sections import sources_stamp

    root = _enter_root()
    if options.recipe == GUARD:
        sweep(root)
        # which recipe DVC is about to run is unknown; the stages of a broken one refuse it themselves
        plan = make_sound_plan(root, ())
        _warn(warning(plan))
        dvcfile.pass_guard(root, plan)
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
    threading.Thread(target=_end_with, args=(_caller(),), daemon=True).start()
    reads.refuse_damaged()
    environment = environments.ensure(root, stage.environment, _say)
    with make_display(sys.stdout, json=False) as display:

        def live(text: str, done: int | None = None, total: int | None = None) -> None:
            display.show(Progress(stage.id, text, done, total))

        def on_log(path: str) -> None:
            display.show(Changed(stage.id, State.RUNNING, log=path))

        seconds = run_stage(root, plan, stage, environment, live, on_log=on_log)
        reads.refuse_edited()
        display.show(Changed(stage.id, State.DONE, seconds=seconds))
    return Exit.DONE


def _share(options: argparse.Namespace) -> Exit:
    from pipeline import share

    root = _enter_root()
    found = share.checks(root)
    if options.fix:
        found = share.fix(root, found)
    print(share.as_text(found))
    return Exit.DONE if share.is_sound(found) else Exit.BAD_INPUT


def _merge_lock(options: argparse.Namespace) -> Exit:
    from pipeline import lock_merge

    merged = lock_merge.merge_files(options.base, options.ours, options.theirs)
    if text := lock_merge.as_text(merged):
        print(text, file=sys.stderr)
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


def _schema(options: argparse.Namespace) -> Exit:
    from pipeline.schema import SCHEMA, render_schema

    root = _enter_root()
    if options.stdout:
        print(render_schema(root), end="")
    else:
        (root / SCHEMA).write_text(render_schema(root), encoding="utf-8")
        print(f"wrote {SCHEMA}")
    return Exit.DONE


def _env(options: argparse.Namespace) -> Exit:
    from pipeline import environments

    root = _enter_root()
    if options.action == "list":
        for name in environments.names(root):
            found = environments.find(root, name)
            state = f"built in {found.directory.relative_to(root)}" if found.is_built else f"not built ({found.size})"
            print(f"{name:<12} python {found.python_version}  {state}")
    elif options.action == "build":
        names = options.names or environments.names(root)
        for name in names:
            environments.find(root, name)  # a misspelt one is said before any is built
        for name in names:
            environments.ensure(root, name, _say)
    elif options.action == "prune":
        environments.prune(root, _say)
    else:
        if options.chosen:
            environments.set_device(root, options.chosen)
        print(f"'device: auto' means {environments.device(root)} on this machine")
    return Exit.DONE


def _say(text: str) -> None:
    print(f"recast: {text}", flush=True)


_VERBS = {
    "check": _check,
    "plan": _plan,
    "explain": _explain,
    "blame": _blame,
    "run": _run,
    "stage": _stage,
    "share": _share,
    "merge-lock": _merge_lock,
    "sync": _sync,
    "schema": _schema,
    "env": _env,
}
