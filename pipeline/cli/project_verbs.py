"""Verbs on a project as such: it is made, gets a recipe, is listed, and this machine is looked at."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path

from recast.pipeline.cli.entered import enter_root
from recast.pipeline.cli.looking_verbs import say_sound
from recast.pipeline.cli.terminal import warn
from recast.pipeline.cli.verb import Add, Verb
from recast.pipeline.core.errors import Exit, RecastError
from recast.pipeline.core.layout import RECIPES, launcher, of_another_clone


def add_arguments(add: Add) -> None:
    """The verbs with their arguments."""
    init = add(
        "init",
        "make this git repository a project of recipes",
        example="recast init --yes",
        more="Makes or joins DVC, and writes recipes/, params.yaml, a first recipe with its model, and lines of "
        ".gitignore and .dvcignore. Overwrites nothing, and says what it wrote and what it left alone.",
    )
    init.add_argument("--yes", action="store_true", help="ask nothing: no CI workflow unless --ci is given")
    init.add_argument("--ci", action="store_true", help="write a workflow for GitHub Actions that checks the recipes")
    init.add_argument(
        "--subdir", action="store_true", help="make the project in this folder, below the top of the git repository"
    )

    new = add(
        "new",
        "write a recipe, checked before it is put in place",
        example="recast new points --model models.points_mlp:PointsMlp --data data/points.npz --target onnxruntime",
        more="Overwrites nothing.",
    )
    new.add_argument("name", metavar="NAME", help="what the recipe is called: the file is recipes/NAME.yaml")
    new.add_argument("--from", metavar="RECIPE", dest="base", help="extend this recipe; only what differs is written")
    new.add_argument(
        "--target",
        metavar="TARGET",
        action="append",
        default=[],
        dest="targets",
        help="a target it is made for, of those that `recast list` shows; give it again for several",
    )
    new.add_argument("--model", metavar="MODULE:CLASS", help="the nn.Module, for example models.net:Net")
    new.add_argument("--weights", metavar="FILE", help="weights of that model, in place of training")
    new.add_argument("--onnx", metavar="FILE", help="an ONNX file, or the folder that holds it, in place of a model")
    new.add_argument("--data", metavar="PATH", help="an npz file, or a folder of images; scikit-learn's digits if none")

    show = add("list", "show the recipes with their targets, and the targets there are", example="recast list")
    show.add_argument("--json", action="store_true", help="for tools")

    doctor = add(
        "doctor",
        "look at what running recipes needs here, and say how to mend it",
        example="recast doctor",
        more="Python, git, DVC, the remote, disk space, environments, and programs that targets want. Exits with 1 if "
        "something is wrong. Mends nothing.",
    )
    doctor.add_argument("--json", action="store_true", help="for tools")


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
        warn(f"recast: warning: {problem.message}; {problem.remedy}")
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
    root = enter_root()
    weights, onnx, data = (_within(root, here, path) for path in (options.weights, options.onnx, options.data))
    plan = create(root, Request(options.name, options.base, options.targets, options.model, weights, onnx, data))
    say_sound(plan)
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

    found = catalog.catalog(enter_root())
    print(catalog.as_json(found) if options.json else catalog.as_text(found))
    return Exit.DONE


def _doctor(options: argparse.Namespace) -> Exit:
    from recast.pipeline.project import doctor
    from recast.pipeline.sharing import checks

    with suppress(RecastError):  # having no project is among what it finds
        enter_root()
    found = list(doctor.examine(Path.cwd()))
    print(checks.as_json(found) if options.json else checks.as_text(found))
    return Exit.DONE if checks.is_sound(found) else Exit.UNSOUND


VERBS: dict[str, Verb] = {
    "init": _init,
    "new": _new,
    "list": _list,
    "doctor": _doctor,
}
