"""Verbs that look at recipes and run nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.cli.entered import enter_root, everything, plan_of
from recast.pipeline.cli.terminal import say
from recast.pipeline.cli.verb import RECIPES_HELP, Add, Verb
from recast.pipeline.core import address
from recast.pipeline.core.address import FORM
from recast.pipeline.core.errors import Exit
from recast.pipeline.core.layout import RECIPES

if TYPE_CHECKING:
    from recast.pipeline.planning.plan import Plan


def add_arguments(add: Add) -> None:
    """The verbs with their arguments."""
    check = add(
        "check",
        "check recipes and report every mistake with its place",
        example="recast check digits",
        more="Runs nothing.",
    )
    check.add_argument("recipes", nargs="*", metavar="RECIPE", help=RECIPES_HELP)

    plan = add(
        "plan",
        "show the stages of recipes and which of them would run",
        example="recast plan digits",
        more="Runs nothing.",
    )
    plan.add_argument("recipes", nargs="*", metavar="RECIPE", help=RECIPES_HELP)
    formats = ("text", "json", "mermaid")
    plan.add_argument(
        "--format", choices=formats, default="text", help="text for people, json for tools, mermaid to draw"
    )
    plan.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    plan.add_argument(
        "--no-status", action="store_true", help="leave out which stages would run (quicker: DVC is not asked)"
    )

    explain = add(
        "explain",
        "say for each stage that it is up to date, or why it is not",
        example="recast explain digits/train",
        more="Which param changed from what to what, which file, what was edited by hand, and whether it is cached.",
    )
    explain.add_argument("what", metavar=FORM, help="for example digits, digits/train or digits/akida/verify")
    explain.add_argument("--json", action="store_true", help="for tools")


def _check(options: argparse.Namespace) -> Exit:
    _, plan = plan_of(options)
    say_sound(plan)
    return Exit.DONE


def say_sound(plan: Plan) -> None:
    for recipe in plan.recipes.values():
        shared = [id for id in recipe.ids if plan.stages[id].recipe != recipe.name]
        more = f", {len(shared)} of them shared" if shared else ""
        print(
            f"{RECIPES}/{recipe.name}.yaml: sound; {len(recipe.ids)} stages{more}; targets: {', '.join(recipe.targets)}"
        )


def _plan(options: argparse.Namespace) -> Exit:
    from recast.pipeline.cli import plan_views
    from recast.pipeline.dvc.current import refuse_stale

    root, plan = plan_of(options)
    states: dict[str, str] = {}
    if not options.no_status:
        all_of_them = everything(root, options.recipes) if options.recipes else plan
        refuse_stale(root, all_of_them, plan.stages.values(), "or add --no-status")
        states = states_of(root, plan)
    render = {"text": plan_views.as_text, "json": plan_views.as_json, "mermaid": plan_views.as_mermaid}[options.format]
    print(render(plan, states))
    return Exit.DONE


def states_of(root: Path, plan: Plan) -> dict[str, str]:
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

    root = enter_root()
    plan = everything(root, [address.recipe_of(options.what)])
    recipe, ids = explain.wanted(plan, options.what)
    refuse_stale(root, plan, [plan.stages[id] for id in plan.recipes[recipe].ids])
    environments.device(root)
    repository = Repository(root, say)
    try:
        explanations = explain.explain(repository, plan, ids)
    finally:
        repository.close()
    measured = [one.stage for one in explanations if one.cpu]
    here = cpu_kind.of_this_machine(root, dict.fromkeys(plan.stages[id].environment for id in measured))
    print(explain.as_json(explanations, here) if options.json else explain.as_text(explanations, here))
    return Exit.DONE


VERBS: dict[str, Verb] = {
    "check": _check,
    "plan": _plan,
    "explain": _explain,
}
