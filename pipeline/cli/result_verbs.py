"""Verbs on results: shown, compared, put on a page, explained and repaired."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.cli.entered import enter_root, everything
from recast.pipeline.cli.terminal import console, print_error, say
from recast.pipeline.cli.verb import NO_STATUS, RECIPES_HELP, Add, Verb
from recast.pipeline.core import address
from recast.pipeline.core.address import TARGET_FORM
from recast.pipeline.core.errors import Exit, RecastError
from recast.pipeline.core.layout import RECIPES
from recast.stages.common.argument_types import duration, share

if TYPE_CHECKING:
    from recast.pipeline.planning.plan import Plan
    from recast.pipeline.reporting.facts import RecipeFacts


def add_arguments(add: Add) -> None:
    """The verbs with their arguments."""
    show = add(
        "show",
        "show results again: metrics, sizes, latency, limits that were missed, and the curves of training",
        example="recast show digits",
        more="Runs nothing. What is not up to date is said to be so.",
    )
    show.add_argument("recipes", nargs="*", metavar="RECIPE", help=RECIPES_HELP)
    _add_status_and_json(show)

    compare = add(
        "compare",
        "compare the results of two recipes, or of git revisions, and what they were made with",
        example="recast compare HEAD~1 digits",
        more="A recipe and a revision: that recipe then and now. Two revisions: every recipe that has results in both.",
    )
    for name in ("first", "second"):
        compare.add_argument(name, metavar="RECIPE|REV", help="a recipe's name, or a git revision")
    _add_status_and_json(compare)

    report = add(
        "report",
        "write results as a page: one HTML file that needs no network",
        example="recast report digits --open",
        more="Runs nothing but the page's own code. What is not up to date, failed or was not run is said to be so.",
    )
    report.add_argument("recipes", nargs="*", metavar="RECIPE", help=RECIPES_HELP)
    report.add_argument(
        "--compare",
        metavar="REV|RECIPE",
        help="show each recipe beside itself at a git revision, or beside a recipe",
    )
    report.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to write it, instead of report.html")
    report.add_argument(
        "--dvc-plots", action="store_true", help="also let `dvc plots show` draw without a network in this clone"
    )
    report.add_argument("--open", action="store_true", help="show it in the browser")
    report.add_argument("--no-status", action="store_true", help=NO_STATUS)

    blame = add(
        "blame",
        "show where a target loses what the model computed",
        example="recast blame digits/akida",
        more="Each form of the model against the one before, layer by layer, from the last run of the target's verify.",
    )
    blame.add_argument("what", metavar=TARGET_FORM, help="for example digits/akida")
    blame.add_argument("--json", action="store_true", help="for tools")

    repair = add(
        "repair",
        "search for values by which a target meets its limits",
        example="recast repair digits/onnxruntime --max-drop 0.005",
        more="Tries what the target can do otherwise, cheapest first, in a copy of the project that shares DVC's "
        "cache; the target's own runtime decides. The recipe is left as it is, unless --write is given. Ends with 1 if "
        "nothing meets the limits. See docs/repair.md.",
    )
    repair.add_argument("what", metavar=TARGET_FORM, help="for example digits/onnxruntime")
    repair.add_argument(
        "--max-drop",
        type=share,
        metavar="SHARE",
        help="most that the metric may be worse than the float model's, for example 0.005; beside the recipe's limits",
    )
    repair.add_argument(
        "--min-agreement",
        type=share,
        metavar="SHARE",
        help="least agreement with the float model, in the place of the recipe's",
    )
    repair.add_argument(
        "--budget", type=duration, metavar="TIME", help="stop after that long, for example 90s, 10m or 2h"
    )
    repair.add_argument("--write", action="store_true", help="write the change into the recipe")
    repair.add_argument("--json", action="store_true", help="for tools")


def _add_status_and_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-status", action="store_true", help=NO_STATUS)
    parser.add_argument("--json", action="store_true", help="for tools")


def _facts(options: argparse.Namespace, wanted: Sequence[str] | None) -> tuple[Path, Plan, dict[str, RecipeFacts]]:
    """The project, the plan of all its recipes, and what is known of the wanted ones, all if none is named.

    None wants none. What DVC says is asked unless `--no-status`; then dvc.yaml must be current.
    """
    from recast.pipeline.dvc import explain
    from recast.pipeline.dvc.current import refuse_stale
    from recast.pipeline.dvc.repository import Repository
    from recast.pipeline.processes import environments
    from recast.pipeline.reporting.facts import gather

    root = enter_root()
    plan = everything(root, wanted or ())
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
        result_views.show(console(), root, recipe)
    return Exit.DONE


def _compare(options: argparse.Namespace) -> Exit:
    import json

    from recast.pipeline.cli import result_views
    from recast.pipeline.recipes.recipe import Recipes
    from recast.pipeline.reporting import comparison

    known = Recipes(enter_root()).names()
    named = [name for name in (options.first, options.second) if name in known]
    root, plan, facts = _facts(options, named or None)
    found = comparison.compare(root, plan, options.first, options.second, facts)
    if options.json:
        print(json.dumps(comparison.as_json(found), indent=2, ensure_ascii=False))
    else:
        result_views.comparison(console(), found)
    return Exit.DONE


def _report(options: argparse.Namespace) -> Exit:
    from recast.pipeline.recipes.recipe import Recipes
    from recast.pipeline.reporting import comparison, page

    here = Path.cwd()
    output = here / options.output if options.output else None
    root = enter_root()
    other = options.compare
    beside = [other] if other in Recipes(root).names() else []
    root, plan, facts = _facts(options, [*options.recipes, *(beside if options.recipes else [])])
    shown = [facts[name] for name in dict.fromkeys(options.recipes or facts)]
    compared: list[comparison.Comparison] = []
    for recipe in shown if other else ():
        if recipe.name != other:
            compared += comparison.compare(root, plan, other, recipe.name, facts)
    written = page.write(root, plan, shown, compared, output or root / page.FILE, say, options.dvc_plots)
    print(f"wrote {written.relative_to(here) if written.is_relative_to(here) else written}")
    if options.open:
        import webbrowser

        if not webbrowser.open(written.as_uri()):
            raise RecastError("no browser could be started", f"open {written} yourself")
    return Exit.DONE


def _blame(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import blame
    from recast.pipeline.dvc import cpu_kind
    from recast.pipeline.planning.make_plan import make_plan

    root = enter_root()
    plan = make_plan(root, [address.recipe_of(options.what)])
    target = plan.locate_target(options.what)
    report = blame.blame(root, plan, target)
    here = cpu_kind.of_this_machine(root, [blame.verifying(plan, target).environment]) if report.cpu else ""
    print(blame.as_json(report, here) if options.json else blame.as_text(report, here))
    return Exit.DONE


def _repair(options: argparse.Namespace) -> Exit:
    from rich.console import Console

    from recast.pipeline.cli import repair as shown
    from recast.pipeline.cli.live_line import LiveLine
    from recast.pipeline.execution.interrupts import Interrupts
    from recast.pipeline.repair.repairing import Wish, repair, write

    root = enter_root()
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
        print_error(f"recast: wrote {RECIPES}/{made.target.recipe}.yaml; '{command}' takes its results from the cache")
    return Exit.DONE if chosen is not None else Exit.STAGE_FAILED


VERBS: dict[str, Verb] = {
    "show": _show,
    "compare": _compare,
    "report": _report,
    "blame": _blame,
    "repair": _repair,
}
