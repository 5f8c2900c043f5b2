"""The command line: the only module that prints and exits.

Each verb imports what it needs: `recast run` with nothing to do must not pay for DVC, pydantic and the rest.
"""

from __future__ import annotations

import argparse
import atexit
import io
import itertools
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

from recast.pipeline.cli import arguments
from recast.pipeline.cli.display import make_display
from recast.pipeline.core import address
from recast.pipeline.core.errors import Exit, RecastError, RecipeError
from recast.pipeline.core.layout import (
    BUG_LOG,
    DEVICE_WITHIN,
    GUARD,
    RECIPES,
    RECORD,
    find_root,
    launcher,
    of_another_clone,
)
from recast.pipeline.dvc import remembered
from recast.pipeline.execution.events import Changed, Ended, Event, Message, Planned, Progress, State
from recast.pipeline.processes.tool_variables import SWITCHES
from recast.stages import IS_INSTALLED
from recast.stages.plugin import PluginError

if TYPE_CHECKING:
    import psutil
    from rich.console import Console

    from recast.pipeline.planning.plan import Plan
    from recast.pipeline.reporting.facts import RecipeFacts

# what a name or a message of others may hold that is no text
_COMMANDS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
# where a line says who speaks, or which file it is about
_LINE = re.compile(r"^(recast: (?P<warning>warning:)?|[^ :]+:\d+:\d+:)")


def main(given: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of `errors.Exit`."""
    signal.signal(signal.SIGTERM, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a locale that lacks a character of a name must not end a verb
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.update(SWITCHES)
    try:
        options = arguments.parse(sys.argv[1:] if given is None else list(given), _VERBS, _registered)
        sys.exit(options.verb(options))
    except RecipeError as error:
        count = len(error.problems)
        _fail(f"{error}\nrecast: {count} problem{'s' if count > 1 else ''}, nothing was run", error.exit_code)
    except RecastError as error:
        _fail(f"recast: {error}", error.exit_code)
    except PluginError as error:
        _fail(f"recast: {error}", Exit.BAD_INPUT)
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
        path = find_root() / BUG_LOG
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc(), encoding="utf-8")
    except (OSError, RecastError):
        return "please report it, with what you ran"
    return f"please report it, with what you ran and {path}"


def _enter_root() -> Path:
    """The repository's root, entered: DVC takes names relative to the current directory."""
    root = find_root()
    if IS_INSTALLED and (root / "src" / "recast").is_dir():
        raise RecastError("this is a clone of Recast, which runs its own code", "use its own './recast' here")
    os.chdir(root)
    return root


def _warn(text: str) -> None:
    if text:
        _print_error(text)


def _everything(root: Path, wanted: Sequence[str]) -> Plan:
    """The plan of every recipe, for a verb that works on the wanted ones; with some wanted, others may be broken."""
    from recast.pipeline.planning.make_plan import make_plan
    from recast.pipeline.planning.partial_plan import make_sound_plan, warning

    if not wanted:
        return make_plan(root)
    plan = make_sound_plan(root, wanted)
    _warn(warning(plan))
    return plan


def _plan_of(options: argparse.Namespace) -> tuple[Path, Plan]:
    from recast.pipeline.planning.make_plan import make_plan

    root = _enter_root()
    return root, make_plan(root, options.recipes or None)


def _init(options: argparse.Namespace) -> Exit:
    from recast.pipeline.planning.make_plan import make_plan
    from recast.pipeline.project import init

    folder = Path.cwd()
    init.check_place(folder, options.subdir)
    workflow = options.ci or (not options.yes and _asked("write a GitHub workflow that checks the recipes?"))
    for touched in init.init(folder, subdir=options.subdir, workflow=workflow):
        print(touched)
    plan = make_plan(folder)
    call, name = launcher(folder), next(iter(plan.recipes))
    print(f"\nnext: '{call} run {name}' runs a recipe, '{call} new' writes one, '{call} doctor' looks at this machine")
    if problem := of_another_clone(folder):
        _warn(f"recast: warning: {problem.message}; {problem.remedy}")
    return Exit.DONE


def _asked(question: str) -> bool:
    """What the user says to a question with yes or no; no, without a word, if nobody is there to be asked."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _new(options: argparse.Namespace) -> Exit:
    from recast.pipeline.project.new_recipe import Request, create

    here = Path.cwd()
    root = _enter_root()
    weights, onnx, data = (_within(root, here, path) for path in (options.weights, options.onnx, options.data))
    plan = create(root, Request(options.name, options.base, options.targets, options.model, weights, onnx, data))
    _say_sound(plan)
    print(f"wrote {RECIPES}/{options.name}.yaml; run it with '{launcher(root)} run {options.name}'")
    return Exit.DONE


def _within(root: Path, here: Path, given: str | None) -> str | None:
    """A path that was given in the current folder as recipes name it. RecastError if it leads out of the project."""
    if given is None:
        return None
    path = Path(os.path.normpath(here / given))
    if not path.is_relative_to(root):
        raise RecastError(f"{given} lies outside the project at {root}", "copy it in, or link to nothing outside")
    return path.relative_to(root).as_posix()


def _list(options: argparse.Namespace) -> Exit:
    from recast.pipeline.project import catalog

    found = catalog.catalog(_enter_root())
    print(catalog.as_json(found) if options.json else catalog.as_text(found))
    return Exit.DONE


def _doctor(options: argparse.Namespace) -> Exit:
    from recast.pipeline.project import doctor
    from recast.pipeline.sharing import checks

    with suppress(RecastError):  # having no project is among what it finds
        _enter_root()
    found = list(doctor.examine(Path.cwd()))
    print(checks.as_json(found) if options.json else checks.as_text(found))
    return Exit.DONE if checks.is_sound(found) else Exit.UNSOUND


def _completion(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import completion

    print(completion.script(options.shell, arguments.whole(_VERBS, _registered)))
    return Exit.DONE


def _check(options: argparse.Namespace) -> Exit:
    _, plan = _plan_of(options)
    _say_sound(plan)
    return Exit.DONE


def _say_sound(plan: Plan) -> None:
    for recipe in plan.recipes.values():
        shared = [id for id in recipe.ids if plan.stages[id].recipe != recipe.name]
        more = f", {len(shared)} of them shared" if shared else ""
        print(
            f"{RECIPES}/{recipe.name}.yaml: sound; {len(recipe.ids)} stages{more}; targets: {', '.join(recipe.targets)}"
        )


def _plan(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import plan_views
    from recast.pipeline.dvc.current import refuse_stale

    root, plan = _plan_of(options)
    states: dict[str, str] = {}
    if not options.no_status:
        everything = _everything(root, options.recipes) if options.recipes else plan
        refuse_stale(root, everything, plan.stages.values(), "or add --no-status")
        states = _states(root, plan)
    render = {"text": plan_views.as_text, "json": plan_views.as_json, "mermaid": plan_views.as_mermaid}[options.format]
    print(render(plan, states))
    return Exit.DONE


def _states(root: Path, plan: Plan) -> dict[str, str]:
    """What a run would do, by stage; DVC is asked, so dvc.yaml must be current."""
    from recast.pipeline.dvc import explain
    from recast.pipeline.processes import environments

    environments.device(root)
    return explain.states(root, plan)


def _explain(options: argparse.Namespace) -> Exit:
    from recast.pipeline.dvc import cpu_kind, explain
    from recast.pipeline.dvc.current import refuse_stale
    from recast.pipeline.dvc.repository import Repository
    from recast.pipeline.processes import environments

    root = _enter_root()
    plan = _everything(root, [address.recipe_of(options.what)])
    recipe, ids = explain.wanted(plan, options.what)
    refuse_stale(root, plan, [plan.stages[id] for id in plan.recipes[recipe].ids])
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
    from recast.pipeline.cli import blame
    from recast.pipeline.dvc import cpu_kind
    from recast.pipeline.planning.make_plan import make_plan

    root = _enter_root()
    plan = make_plan(root, [address.recipe_of(options.what)])
    target = plan.locate_target(options.what)
    report = blame.blame(root, plan, target)
    here = cpu_kind.of_this_machine(root, [blame.verifying(plan, target).environment]) if report.cpu else ""
    print(blame.as_json(report, here) if options.json else blame.as_text(report, here))
    return Exit.DONE


def _facts(options: argparse.Namespace, wanted: Sequence[str] | None) -> tuple[Path, Plan, dict[str, RecipeFacts]]:
    """The project, the plan of all its recipes, and what is known of the wanted ones, all if none is named.

    None wants none. What DVC says is asked unless `--no-status`; then dvc.yaml must be current.
    """
    from recast.pipeline.dvc import explain
    from recast.pipeline.dvc.current import refuse_stale
    from recast.pipeline.dvc.repository import Repository
    from recast.pipeline.processes import environments
    from recast.pipeline.reporting.facts import gather

    root = _enter_root()
    plan = _everything(root, wanted or ())
    names = [] if wanted is None else list(dict.fromkeys(wanted)) or list(plan.recipes)
    for name in names:
        plan.locate(name)
    explained = None
    if not options.no_status and names:
        ids = tuple(dict.fromkeys(id for name in names for id in plan.recipes[name].ids))
        refuse_stale(root, plan, [plan.stages[id] for id in ids], "or add --no-status")
        environments.device(root)
        repository = Repository(root, lambda text: None)
        try:
            explained = {one.stage: one for one in explain.explain(repository, plan, ids)}
        finally:
            repository.close()
    return root, plan, {one.name: one for one in gather(root, plan, names, explained)}


def _show(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import result_views

    root, _, facts = _facts(options, options.recipes)
    if options.json:
        print(result_views.as_json(facts.values()))
        return Exit.DONE
    for recipe in facts.values():
        result_views.show(_console(), root, recipe)
    return Exit.DONE


def _compare(options: argparse.Namespace) -> Exit:
    import json

    from recast.pipeline.cli import result_views
    from recast.pipeline.recipes.recipe import Recipes
    from recast.pipeline.reporting import comparison

    known = Recipes(_enter_root()).names()
    named = [name for name in (options.first, options.second) if name in known]
    root, plan, facts = _facts(options, named or None)
    found = comparison.compare(root, plan, options.first, options.second, facts)
    if options.json:
        print(json.dumps(comparison.as_json(found), indent=2, ensure_ascii=False))
    else:
        result_views.comparison(_console(), found)
    return Exit.DONE


def _report(options: argparse.Namespace) -> Exit:
    from recast.pipeline.recipes.recipe import Recipes
    from recast.pipeline.reporting import comparison, page

    here = Path.cwd()
    output = here / options.output if options.output else None
    root = _enter_root()
    other = options.compare
    beside = [other] if other in Recipes(root).names() else []
    root, plan, facts = _facts(options, [*options.recipes, *(beside if options.recipes else [])])
    shown = [facts[name] for name in dict.fromkeys(options.recipes or facts)]
    compared: list[comparison.Comparison] = []
    for recipe in shown if other else ():
        if recipe.name != other:
            compared += comparison.compare(root, plan, other, recipe.name, facts)
    written = page.write(root, plan, shown, compared, output or root / page.FILE, _say, options.dvc_plots)
    print(f"wrote {written.relative_to(here) if written.is_relative_to(here) else written}")
    if options.open:
        import webbrowser

        if not webbrowser.open(written.as_uri()):
            raise RecastError("no browser could be started", f"open {written} yourself")
    return Exit.DONE


def _console() -> Console:
    from rich.console import Console

    # outside a terminal a path must stay in one piece, whatever width rich assumes
    return Console() if sys.stdout.isatty() else Console(width=160)


def _repair(options: argparse.Namespace) -> Exit:
    from rich.console import Console

    from recast.pipeline.cli import repair as shown
    from recast.pipeline.cli.live_line import LiveLine
    from recast.pipeline.execution.interrupts import Interrupts
    from recast.pipeline.repair.repairing import Wish, repair, write

    root = _enter_root()
    wish = Wish(options.what, options.max_drop, options.min_agreement, options.budget)
    count = itertools.count(1)
    with Interrupts() as interrupts, LiveLine(sys.stderr) as live:
        made = repair(
            root, wish, interrupts, live.show, lambda candidate: live.tell(shown.line(next(count), candidate))
        )
    if options.json:
        print(shown.as_json(made))
    else:
        shown.show(Console() if sys.stdout.isatty() else Console(width=200), made)
    chosen = made.found.chosen
    if made.stopped == "interrupted":
        return Exit.INTERRUPTED
    if options.write and made.change:
        write(root, made)
        command = made.target.run_command(root)
        _print_error(f"recast: wrote {RECIPES}/{made.target.recipe}.yaml; '{command}' takes its results from the cache")
    return Exit.DONE if chosen is not None else Exit.STAGE_FAILED


def _registered(options: argparse.Namespace) -> Exit:
    """Become the process of a verb of `recast.stages.registry`: signals, exit code and terminal are then its own."""
    from recast.pipeline.processes import verb_call
    from recast.stages.registry import load_verb

    here = Path.cwd()
    root = _enter_root()
    released = None
    if load_verb(options.name).several:
        from recast.pipeline.release.served import is_release, served

        if is_release(here / options.what):
            released = served(root, here / options.what, _note)
    call = verb_call.call(root, options.name, vars(options), lambda text: print(text, file=sys.stderr), released)
    os.chdir(here)  # files are named as the user sees them
    os.execve(call.program, call.arguments, call.variables)


def _release(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import release_verbs

    here = Path.cwd()
    print(release_verbs.release(_enter_root(), here, options, _note))
    return Exit.DONE


def _verify_release(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import release_verbs

    here = Path.cwd()
    print(release_verbs.verify(_enter_root(), here, options, _note))
    return Exit.DONE


def _rebuild(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import release_verbs

    here = Path.cwd()
    print(release_verbs.rebuild(_enter_root(), here, options, _note))
    return Exit.DONE


def _releases(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import release_verbs

    print(release_verbs.releases(_enter_root(), options))
    return Exit.DONE


def _sync(options: argparse.Namespace) -> Exit:
    from recast.pipeline.dvc import dvcfile, plugin_lock, sync
    from recast.pipeline.planning.make_plan import make_plan
    from recast.pipeline.planning.schema import SCHEMA

    root = _enter_root()
    plan = make_plan(root)
    if options.check:
        remedy = f"run '{launcher(root)} sync'"
        if not dvcfile.is_current(root, plan):
            raise RecastError("dvc.yaml does not match the recipes", f"{remedy} and commit dvc.yaml")
        plugin_lock.refuse_stale(root, plan.stages.values())
        if not plugin_lock.is_current(root, plan):
            raise RecastError(f"{RECORD} does not hold what the plugins provide", f"{remedy} and commit {RECORD}")
        if not sync.schema_is_current(root):
            raise RecastError(f"{SCHEMA} does not match the stages", f"{remedy} and commit {SCHEMA}")
        print("dvc.yaml and the schema match the recipes")
        return Exit.DONE
    sync.sync(root, plan, print)
    return Exit.DONE


def _run(options: argparse.Namespace) -> Exit:
    root = _enter_root()
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
        _warn(memory.warning)
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

        outcome = run(root, request, recalled, chosen, show, interrupts, _warn)
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

    console = _console()
    for recipe, (metric, rows) in tables:
        show_table(console, recipe, metric, rows)


def _dry_run(root: Path, request: Mapping[str, tuple[str, ...]], options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import plan_views
    from recast.pipeline.dvc.current import refuse_stale
    from recast.pipeline.execution.request import Request, dvc_names, needed

    plan = _everything(root, options.recipes)
    targets = dvc_names(plan, Request(**request))
    part = needed(plan, options.recipes, targets)
    if options.force:
        states = dict.fromkeys(part.stages, plan_views.WOULD_RUN)
    else:
        refuse_stale(root, plan, part.stages.values())
        states = _states(root, part)
    print(plan_views.as_json(part, states) if options.json else plan_views.as_text(part, states))
    return Exit.DONE


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

    root = _enter_root()
    if options.recipe == GUARD and options.stage == DEVICE_WITHIN:
        environments.device(root)
        return Exit.DONE
    if options.recipe == GUARD and options.stage is None:
        sweep(root)
        # which recipe DVC is about to run is unknown; the stages of a broken one refuse it themselves
        plan = make_sound_plan(root, ())
        _warn(warning(plan))
        if said := dvcfile.pass_guard(root, plan, plugin_lock.write):
            _say(f"wrote {RECORD}, since other code is installed than it said: {said}")
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
    environment = environments.ensure(root, stage.environment, _say)
    with make_display(sys.stdout, json=False) as display:

        def live(text: str, done: int | None = None, total: int | None = None) -> None:
            display.show(Progress(stage.id, text, done, total))

        def on_log(path: str) -> None:
            display.show(Changed(stage.id, State.RUNNING, log=path))

        def on_note(text: str) -> None:
            display.show(Message(f"{stage.id}: {text}"))

        with Workers(root, warm=False) as workers:
            process = StageProcess(root, plan, stage, environment, live, on_log, on_note=on_note)
            seconds = process.run(workers)
        reads.refuse_edited()
        display.show(Changed(stage.id, State.DONE, seconds=seconds))
    return Exit.DONE


def _worker(options: argparse.Namespace) -> Exit:
    from recast.pipeline.execution import dask_worker
    from recast.pipeline.execution.scheduler import Machine, this_machine

    root = _enter_root()
    here = this_machine()
    machine = Machine(options.cores or here.cores, options.memory or here.memory, here.gpus)
    labels = dict(options.resources)
    dask_worker.serve(root, options.address, options.worker_name, dask_worker.with_labels(machine, labels), _say)
    return Exit.DONE


def _share(options: argparse.Namespace) -> Exit:
    from recast.pipeline.sharing import checks

    root = _enter_root()
    found = checks.checks(root)
    if options.fix:
        found = checks.fix(root, found)
    print(checks.as_json(found) if options.json else checks.as_text(found))
    return Exit.DONE if checks.is_sound(found) else Exit.BAD_INPUT


def _merge_lock(options: argparse.Namespace) -> Exit:
    from recast.pipeline.dvc import lock_merge

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
    from recast.pipeline.planning.schema import SCHEMA, render_schema

    root = _enter_root()
    if options.stdout:
        print(render_schema(root), end="")
    else:
        (root / SCHEMA).write_text(render_schema(root), encoding="utf-8")
        print(f"wrote {SCHEMA}")
    return Exit.DONE


def _env(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import environment_views
    from recast.pipeline.processes import environments

    root = _enter_root()
    if options.action == "list":
        print(environment_views.as_json(root) if options.json else environment_views.as_text(root))
    elif options.action == "build":
        names = options.names or [one.name for one in environments.wanted(root)]
        for name in names:
            environments.find(root, name)  # a misspelt one is said before any is built
        for name in names:
            environments.ensure(root, name, _say)
    elif options.action == "lock":
        from recast.pipeline.processes import package_lock

        package_lock.lock(root, _say, upgrade=options.upgrade)
    elif options.action == "prune":
        environments.prune(root, _say, everything=options.all)
    else:
        if options.chosen:
            environments.set_device(root, options.chosen)
        print(f"'device: auto' means {environments.device(root)} on this machine")
    return Exit.DONE


def _say(text: str) -> None:
    print(f"recast: {text}", flush=True)


def _note(text: str) -> None:
    """For who waits; standard output is the answer's."""
    print(f"recast: {text}", file=sys.stderr, flush=True)


_VERBS = {
    "init": _init,
    "new": _new,
    "list": _list,
    "doctor": _doctor,
    "check": _check,
    "plan": _plan,
    "explain": _explain,
    "blame": _blame,
    "show": _show,
    "compare": _compare,
    "report": _report,
    "repair": _repair,
    "run": _run,
    "release": _release,
    "verify-release": _verify_release,
    "rebuild": _rebuild,
    "releases": _releases,
    "stage": _stage,
    "worker": _worker,
    "share": _share,
    "merge-lock": _merge_lock,
    "sync": _sync,
    "schema": _schema,
    "env": _env,
    "completion": _completion,
}
