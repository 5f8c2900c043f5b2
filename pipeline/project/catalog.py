"""`recast list`: the recipes of a project with their targets, and the targets that recipes may name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from recast.pipeline.core.layout import PACKAGE, RECIPES, TARGETS
from recast.pipeline.recipes.recipe import Recipes


@dataclass(frozen=True)
class ListedRecipe:
    """A recipe, the one it extends, and its targets; `problems` if its file cannot be used."""

    name: str
    extends: str | None
    targets: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ListedTarget:
    """A target, what the head of its stage set says of it, and whether that lies in the project."""

    name: str
    about: str
    own: bool


@dataclass(frozen=True)
class Catalog:
    """All of them, each sorted by name."""

    recipes: tuple[ListedRecipe, ...]
    targets: tuple[ListedTarget, ...]


def catalog(root: Path) -> Catalog:
    """Read every recipe file, and the head of every stage set."""
    recipes = Recipes(root)
    return Catalog(
        tuple(_recipe(root, name) for name in recipes.names()),
        tuple(_target(recipes, name) for name in recipes.known_targets()),
    )


def _recipe(root: Path, name: str) -> ListedRecipe:
    recipes = Recipes(root)
    # what is wrong with params.yaml is no recipe's
    recipes.problems.clear()
    recipe = recipes.recipe(name)
    problems = tuple(map(str, recipes.problems))
    if recipe is None:
        return ListedRecipe(name, None, (), problems)
    return ListedRecipe(name, recipe.base.name if recipe.base else None, recipe.target_names, problems)


def _target(recipes: Recipes, name: str) -> ListedTarget:
    found = recipes.target(name)
    first = found.document.head[0] if found and found.document.head else ""
    own = recipes.root != PACKAGE and (recipes.root / TARGETS / f"{name}.yaml").exists()
    return ListedTarget(name, first.removeprefix(f"{name}:").strip(), own)


def as_json(listed: Catalog) -> str:
    """For tools."""
    return json.dumps(asdict(listed), indent=2)


def as_text(listed: Catalog) -> str:
    """For people: a line each."""
    width = max(map(len, (*(one.name for one in listed.recipes), *(one.name for one in listed.targets))), default=0) + 2
    lines = ["recipes:"]
    for recipe in listed.recipes:
        shown = ", ".join(recipe.targets) + (f"   (extends {recipe.extends})" if recipe.extends else "")
        if recipe.problems:
            shown = f"broken; 'recast check {recipe.name}' says how"
        lines.append(f"  {recipe.name:<{width}}{shown}".rstrip())
    if not listed.recipes:
        lines.append(f"  none yet in {RECIPES}/; 'recast new' writes one")
    lines += ["", "targets:"]
    lines += [f"  {one.name:<{width}}{one.about}{'   (of this project)' if one.own else ''}" for one in listed.targets]
    return "\n".join(lines)
