"""`recast new`: a recipe from what is said of it, checked before it is put in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recast.pipeline.core.address import is_name
from recast.pipeline.core.errors import Problem, RecastError, RecipeError
from recast.pipeline.core.layout import RECIPES
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import Plan
from recast.pipeline.project.template import filled, scalar
from recast.pipeline.recipes.recipe import Recipes

_KNOWN_DATA = "{dataset: digits}"
_EPOCHS = "10"
_REFERENCE = re.compile(r"[\w.]+:\w+")
"""what needs no quotes where it is the whole value"""


@dataclass(frozen=True)
class Request:
    """What the recipe is to be. Paths are relative to the root, with forward slashes."""

    name: str
    base: str | None = None
    targets: Sequence[str] = ()
    model: str | None = None
    weights: str | None = None
    onnx: str | None = None
    data: str | None = None


def create(root: Path, request: Request) -> Plan:
    """Write recipes/NAME.yaml, and give the plan of it.

    RecastError if it is there already, if what is asked for does not go together, or if the recipe would not be sound:
    nothing is written then.
    """
    file = f"{RECIPES}/{request.name}.yaml"
    if not is_name(request.name):
        raise RecastError(f"'{request.name}' is no recipe name", "use letters, digits and _, starting with a letter")
    for path in (root / RECIPES).glob("*.y*ml"):
        if path.stem == request.name:
            raise RecastError(f"{RECIPES}/{path.name} is there already", "choose another name, or edit that file")
    text = draft(root, request)
    try:
        plan = make_plan(root, [request.name], {request.name: text})
    except RecipeError as error:
        found = "\n".join(_without_place(problem, file) for problem in error.problems)
        raise RecastError(f"{file} was not written, since it would not be sound:\n{found}") from None
    try:
        with (root / file).open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise RecastError(f"{file} is there already", "choose another name, or edit that file") from None
    return plan


def draft(root: Path, request: Request) -> str:
    """The recipe's text. RecastError if what is asked for does not go together."""
    recipes = Recipes(root)
    if request.onnx and (request.model or request.weights):
        raise RecastError("--onnx is a model by itself", "drop --model and --weights, or --onnx")
    if not (request.base or request.model or request.onnx):
        raise RecastError("the recipe needs a model", "add --model MODULE:CLASS, --onnx FILE or --from RECIPE")
    if not request.base and not request.targets:
        raise RecastError("the recipe needs a target", f"add --target, of {', '.join(recipes.known_targets())}")
    values: dict[str, str | Sequence[str]] = {"name": request.name, "target": tuple(dict.fromkeys(request.targets))}
    if request.model:
        values["model"] = request.model if _REFERENCE.fullmatch(request.model) else scalar(request.model)
    for key in ("base", "weights", "onnx"):
        if said := getattr(request, key):
            values[key] = scalar(said)
    if request.data:
        kind = "image_folder" if (root / request.data).is_dir() else "npz"
        values["dataset"] = f"{{dataset: {kind}, path: {scalar(request.data)}}}"
    if request.base:
        base = recipes.require(request.base)
        recipes.refuse_problems()
        inherited = base.target_names if base else ()
        if request.targets:
            values["dropped"] = tuple(name for name in inherited if name not in request.targets)
        return filled("new_extending.yaml", values)
    if request.onnx and not request.data:
        # nothing is known of its data: inputs are drawn
        values |= {"task": "none", "drawn": scalar(request.onnx)}
    else:
        values.setdefault("dataset", _KNOWN_DATA)
    if not request.weights:
        values["epochs"] = _EPOCHS
    return filled("new_onnx.yaml" if request.onnx else "new_torch.yaml", values)


def _without_place(problem: Problem, file: str) -> str:
    """A problem of the draft without its line, which nobody can look up."""
    if problem.file != file:
        return f"  {problem}"
    return f"  {problem.message}" + (f"; {problem.remedy}" if problem.remedy else "")
