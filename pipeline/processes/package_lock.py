"""`recast env lock`: the packages that models need besides Recast's, found for what params.yaml and recipes ask for.

The locks hold what comes on top of an environment. They are solved beside its packages, which keep their versions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.pins import LOCKS, pinned
from recast.pipeline.core.whole_file import replaced
from recast.pipeline.processes import environments
from recast.pipeline.processes.pin_solver import solve
from recast.pipeline.recipes.own_packages import OwnPackages, is_pin, name_of, pins_beside
from recast.pipeline.recipes.recipe import Recipes

_WRITTEN = "# Written by `recast env lock` from `requirements`: edit that, not this, and commit both.\n"


def asked(root: Path) -> dict[str, OwnPackages]:
    """Lock file -> what it is to be of. Raises RecipeError with what is wrong in any recipe."""
    recipes = Recipes(root)
    found = [recipes.own_packages]
    for name in recipes.names():
        if recipe := recipes.recipe(name):
            found.append(recipe.own_packages)
    recipes.refuse_problems()
    return {one.lock: one for by_environment in found for one in by_environment.values() if one.requirements}


def lock(root: Path, say: Callable[[str], None], *, upgrade: bool = False) -> None:
    """Write the locks that are missing or out of date, and delete those that nothing asks for any more.

    A pin stays as it is while it will do; with `upgrade` every lock is written anew, with the newest versions. Raises
    RecastError if what is asked for cannot be met.
    """
    wanted = asked(root)
    for file, own in wanted.items():
        if not upgrade and own.problem(root) is None:
            say(f"{file} is up to date")
            continue
        pins = _solved(root, own, upgrade=upgrade)
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as fresh:
            fresh.write_text(f"{_WRITTEN}{own.head(root)}" + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        count = f"{len(pins)} package{'' if len(pins) == 1 else 's'}"
        say(f"wrote {file}: {count} beside those of '{own.environment}'")
    for path in sorted((root / LOCKS).glob("*.txt")):
        file = f"{LOCKS}/{path.name}"
        if file not in wanted and path.read_text(encoding="utf-8", errors="replace").startswith(_WRITTEN):
            path.unlink()
            say(f"deleted {file}, which nothing asks for any more")
    if not wanted:
        say("no packages are asked for: add 'requirements: {torch: [einops]}' to params.yaml, or to a recipe")


def _solved(root: Path, own: OwnPackages, *, upgrade: bool) -> list[str]:
    environment = environments.find(root, own.environment)
    beside = pins_beside(root, own.environment)
    path = root / own.lock
    before = () if upgrade or not path.exists() else filter(is_pin, pinned(path.read_text(encoding="utf-8")))
    try:
        found = solve(environment.python_version, own.requirements, beside=beside, before=before, wheels_only=True)
    except RecastError as error:
        message = f"the requirements of '{own.environment}' cannot be met beside its own packages: {error.message}"
        remedy = "mend them; those packages stay as they are, and what is added must come as wheels"
        raise RecastError(str(own.document.problem(own.where, message, remedy))) from None
    there = set(map(name_of, beside))
    return [pin for pin in found if name_of(pin) not in there]
