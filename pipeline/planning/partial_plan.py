"""A plan that leaves out broken recipes, for a verb that works on others; and what to tell its user.

Only such a verb may leave anything out, and what it leaves out stays in dvc.yaml as it stands (`preserved`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from recast.pipeline.core.errors import Problem, RecipeError
from recast.pipeline.planning.make_plan import plan_of
from recast.pipeline.planning.plan import Plan
from recast.pipeline.planning.resolve import Resolver


def make_sound_plan(root: Path, wanted: Iterable[str]) -> Plan:
    """Plan every recipe in which nothing is wrong, nor in what it extends or uses; the wanted ones must be such.

    Raises RecipeError with the problems of the wanted recipes, or with all problems if no recipe is sound; RecastError
    for a wanted name that is none.
    """
    everything = Resolver(root)
    names = list(wanted)
    for name in names:
        everything.recipes.require(name)
    everything.add_all()
    # no recipe need have a target, but the schema describes each
    for target in everything.recipes.known_targets():
        everything.recipes.target(target)
    if not everything.problems:
        return plan_of(everything)
    problems = {name: _problems(root, [name]) for name in everything.recipes.names()}
    if any(problems[name] for name in names):
        raise RecipeError(_problems(root, names))
    sound = [name for name, found in problems.items() if not found]
    if not sound:
        raise RecipeError(everything.problems)
    resolver = Resolver(root)
    resolver.add(sound)
    broken = tuple(name for name, found in problems.items() if found)
    return plan_of(resolver, broken, RecipeError(everything.problems).problems)


def _problems(root: Path, names: Iterable[str]) -> list[Problem]:
    """What is wrong with these recipes, or with anything they rest on."""
    resolver = Resolver(root)
    resolver.add(names)
    return resolver.problems


def warning(plan: Plan) -> str:
    """What is wrong with what the plan leaves out, and what becomes of it; empty if it leaves out nothing."""
    if not plan.problems:
        return ""
    names = ", ".join(f"'{name}'" for name in plan.broken)
    if len(plan.broken) > 1:
        left = f"recipes {names} were left in dvc.yaml as they stood"
    elif plan.broken:
        left = f"recipe {names} was left in dvc.yaml as it stood"
    else:
        left = "what was asked for does not need it"
    said = "\n".join(str(problem) for problem in plan.problems)
    return f"{said}\nrecast: warning: {left}"


def to_mend(plan: Plan) -> str:
    """The files that are in the way of a sync of every recipe."""
    return ", ".join(dict.fromkeys(problem.file for problem in plan.problems))
