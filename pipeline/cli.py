"""The command line: the only module that prints and exits."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil
from rich.console import Console

from pipeline import dvc_commands, dvcfile, environments, views
from pipeline.errors import Exit, RecastError, RecipeError, did_you_mean
from pipeline.plan import Plan, make_plan
from pipeline.recipe import DEFAULTS, GUARD, RECIPES
from pipeline.results import show_results, write_summary
from pipeline.schema import SCHEMA, render_schema
from pipeline.stage_process import run_stage, sweep

_DESCRIPTION = """\
Recast trains a PyTorch model once and recasts it for every target, with proof that what came out
still computes the same function. Recipes in recipes/*.yaml say how; DVC remembers what is done.
"""
_EPILOG = """\
a first session:
  recast check             are all recipes sound?
  recast plan digits       what are its stages, and which would run?
  recast run digits        run what has changed, then show the results
  dvc repro digits         the same, by DVC

exit codes: 0 done, 1 a stage failed, 2 a recipe or the command is wrong, 3 a bug of Recast, 130 interrupted
"""
# seconds between live lines where the output is no terminal
_LINE_GAP = 10.0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of `errors.Exit`."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(text: str, code: Exit) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


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


def find_root() -> Path:
    """The repository the current directory lies in: the nearest folder with recipes/ and params.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / RECIPES).is_dir() and (folder / DEFAULTS).is_file():
            return folder
    raise RecastError(
        f"no {RECIPES}/ with {DEFAULTS} beside it here or above", "change to a clone of your Recast repository"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recast", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(
        name: str, verb: Callable[[argparse.Namespace], Exit], summary: str, more: str = ""
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {more}".strip())
        added.set_defaults(verb=verb)
        return added

    recipes_help = "a recipe's name: the file recipes/NAME.yaml; all recipes if none is named"

    check = add("check", _check, "check recipes and report every mistake with its place", "Runs nothing.")
    check.add_argument("recipes", nargs="*", metavar="RECIPE", help=recipes_help)

    plan = add("plan", _plan, "show the stages of recipes and which of them would run", "Runs nothing.")
    plan.add_argument("recipes", nargs="*", metavar="RECIPE", help=recipes_help)
    plan.add_argument(
        "--format",
        choices=("text", "json", "mermaid"),
        default="text",
        help="text for people, json for tools, mermaid to draw",
    )
    plan.add_argument(
        "--no-status", action="store_true", help="leave out which stages would run (quicker: DVC is not asked)"
    )

    sync = add(
        "sync",
        _sync,
        "write dvc.yaml and the recipes' JSON schema from the recipes",
        "`recast run` does this by itself.",
    )
    sync.add_argument(
        "--check", action="store_true", help="write nothing; exit 2 if dvc.yaml or the schema is out of date"
    )

    run = add(
        "run", _run, "run the stages that are not up to date, then show the results", "Leaves what `dvc repro` leaves."
    )
    run.add_argument("recipes", nargs="*", metavar="RECIPE", help=recipes_help)
    run.add_argument("--target", metavar="TARGET", help="only what this target needs, for example akida")
    run.add_argument("--force", action="store_true", help="run stages even if they are up to date")
    run.add_argument("--dry", action="store_true", help="show what would run, run nothing")

    stage = add(
        "stage", _stage, "run one stage now, whether or not it is up to date", "This is the command dvc.yaml holds."
    )
    stage.add_argument(
        "recipe", metavar="RECIPE", help=f"a recipe's name, or '{GUARD}' to check that dvc.yaml is current"
    )
    stage.add_argument(
        "stage",
        nargs="?",
        metavar="[TARGET/]STAGE",
        help="for example train or akida/verify; none gathers the recipe's results",
    )

    schema = add("schema", _schema, "write the JSON schema by which editors complete and check recipes")
    schema.add_argument("--stdout", action="store_true", help=f"print it instead of writing {SCHEMA}")

    env = add("env", _env, "show, build or prune the environments stages run in")
    actions = env.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    actions.add_parser("list", help="every environment, and whether it is built")
    build = actions.add_parser("build", help="build environments now instead of on first use")
    build.add_argument("names", nargs="*", metavar="NAME", help="for example torch; all if none is named")
    actions.add_parser("prune", help="delete environments that no pin file asks for any more")
    device = actions.add_parser("device", help="show or choose what 'device: auto' means on this machine")
    device.add_argument("chosen", nargs="?", choices=environments.DEVICES, help="cpu unless chosen")
    return parser


def _plan_of(options: argparse.Namespace) -> tuple[Path, Plan]:
    root = find_root()
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
    root, plan = _plan_of(options)
    states: dict[str, str] = {}
    if not options.no_status:
        if not dvcfile.is_current(root, make_plan(root) if options.recipes else plan):
            raise RecastError(
                "dvc.yaml does not match the recipes, so what would run is unknown",
                "run './recast sync', or add --no-status",
            )
        environments.device(root)
        changed = dvc_commands.changed_stages(root, plan.recipes)
        stale = plan.downstream(id for id, stage in plan.stages.items() if stage.dvc_name in changed)
        states = {id: views.WOULD_RUN if id in stale else views.UP_TO_DATE for id in plan.stages}
    render = {"text": views.as_text, "json": views.as_json, "mermaid": views.as_mermaid}[options.format]
    print(render(plan, states))
    return Exit.DONE


def _sync(options: argparse.Namespace) -> Exit:
    root = find_root()
    plan = make_plan(root)
    if options.check:
        if not dvcfile.is_current(root, plan):
            raise RecastError("dvc.yaml does not match the recipes", "run './recast sync' and commit dvc.yaml")
        if not _schema_is_current(root):
            raise RecastError(f"{SCHEMA} does not match the stages", f"run './recast sync' and commit {SCHEMA}")
        print("dvc.yaml and the schema match the recipes")
        return Exit.DONE
    _sync_files(root, plan)
    return Exit.DONE


def _sync_files(root: Path, plan: Plan) -> None:
    environments.device(root)
    if not _schema_is_current(root):
        (root / SCHEMA).write_text(render_schema(root), encoding="utf-8")
        print(f"wrote {SCHEMA}")
    if dvcfile.write(root, plan):
        print(f"wrote {dvcfile.DVCFILE}")


def _schema_is_current(root: Path) -> bool:
    path = root / SCHEMA
    return path.exists() and path.read_text(encoding="utf-8") == render_schema(root)


def _run(options: argparse.Namespace) -> Exit:
    root = find_root()
    plan = make_plan(root)
    for name in options.recipes:
        if name not in plan.recipes:
            raise RecastError(f"no recipe named '{name}' in {RECIPES}/", did_you_mean(name, plan.recipes))
    wanted = tuple(dict.fromkeys(options.recipes)) or tuple(plan.recipes)
    targets = _dvc_targets(plan, wanted, options.target)
    if not options.dry:
        _sync_files(root, plan)
    elif not dvcfile.is_current(root, plan):
        raise RecastError("dvc.yaml does not match the recipes, so what would run is unknown", dvcfile.SYNC_REMEDY)
    sys.stdout.flush()
    dvc_commands.repro(root, targets, force=options.force, dry=options.dry)
    if not options.dry:
        for name in wanted:
            # outside a terminal a path must stay in one piece, whatever width rich assumes
            console = Console() if sys.stdout.isatty() else Console(width=160)
            show_results(console, root, plan, name, options.target)
    return Exit.DONE


def _dvc_targets(plan: Plan, recipes: Sequence[str], target: str | None) -> list[str]:
    """Names in dvc.yaml of what the command asks for."""
    if target is None:
        return list(recipes)
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


def _stage(options: argparse.Namespace) -> Exit:
    root = find_root()
    if options.recipe == GUARD:
        return _guard(root)
    plan = make_plan(root, [options.recipe])
    if options.stage is None:
        dvcfile.refuse_stale_entry(root, options.recipe, dvcfile.recipe_entry(plan, options.recipe))
        print(f"{options.recipe}: results in {write_summary(root, plan, options.recipe).relative_to(root).as_posix()}")
        return Exit.DONE
    stage = plan.find(options.recipe, options.stage)
    dvcfile.refuse_stale_entry(root, stage.dvc_name, dvcfile.stage_entry(plan, stage))
    threading.Thread(target=_end_with, args=(_caller(),), daemon=True).start()
    environment = environments.ensure(root, stage.environment, _say)
    with _Live(stage.id) as live:
        seconds = run_stage(root, plan, stage, environment, live.show)
    print(f"{stage.id}: done in {seconds:.1f} s")
    return Exit.DONE


def _caller() -> psutil.Process:
    """Who started this command; not the shell in between where that runs nothing else and would wait for us."""
    parent = psutil.Process(os.getppid())
    # DVC calls `$SHELL -c COMMAND`: bash makes way for the command, dash stays until it ends
    if "-c" in parent.cmdline()[1:] and (caller := parent.parent()):
        return caller
    return parent


def _end_with(process: psutil.Process) -> None:
    """A killed `dvc repro` cannot stop its stage; the stage must notice that it was left behind."""
    with suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _guard(root: Path) -> Exit:
    sweep(root)
    if not dvcfile.is_current(root, make_plan(root)):
        raise RecastError("dvc.yaml no longer matches the recipes", dvcfile.SYNC_REMEDY)
    path = root / dvcfile.GUARD_PASS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("dvc.yaml matches the recipes\n", encoding="utf-8")
    return Exit.DONE


def _schema(options: argparse.Namespace) -> Exit:
    root = find_root()
    if options.stdout:
        print(render_schema(root), end="")
    else:
        (root / SCHEMA).write_text(render_schema(root), encoding="utf-8")
        print(f"wrote {SCHEMA}")
    return Exit.DONE


def _env(options: argparse.Namespace) -> Exit:
    root = find_root()
    if options.action == "list":
        for name in environments.names(root):
            found = environments.find(root, name)
            state = f"built in {found.directory.relative_to(root)}" if found.is_built else f"not built ({found.size})"
            print(f"{name:<12} python {found.python_version}  {state}")
    elif options.action == "build":
        for name in options.names or environments.names(root):
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


class _Live:
    """A stage's short progress: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.status = Console().status(subject) if sys.stdout.isatty() else None
        self.last = -_LINE_GAP

    def __enter__(self) -> _Live:
        if self.status:
            self.status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.status:
            self.status.stop()

    def show(self, text: str) -> None:
        if self.status:
            self.status.update(f"{self.subject}: {text}".replace("[", r"\["))
        elif time.monotonic() - self.last >= _LINE_GAP:
            self.last = time.monotonic()
            print(f"{self.subject}: {text}", flush=True)
