"""What dvc.yaml keeps of broken recipes: their stages as they stood.

DVC knows nothing of a stage that dvc.yaml does not list, and `dvc gc` would delete its results; but a recipe is seldom
broken for longer than it takes to type the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from recast.pipeline.core.address import recipe_of_dvc_name, recipe_of_output
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import GUARD


def with_kept(fresh: Mapping[str, Any], there: Mapping[str, Any], broken: Collection[str]) -> dict[str, Any]:
    """The document of the sound recipes, with what `there`, the content of dvc.yaml, says of the broken ones.

    Each part is ordered by recipe. Raises RecastError if `there` is no content of a dvc.yaml.
    """
    try:
        return _with_kept(fresh, there, broken)
    except (AttributeError, TypeError, KeyError, StopIteration) as error:
        raise RecastError("dvc.yaml is not as Recast writes it") from error


def _with_kept(fresh: Mapping[str, Any], there: Mapping[str, Any], broken: Collection[str]) -> dict[str, Any]:
    kept = _kept(fresh["stages"], there["stages"], broken)
    below = tuple(f"{out}/" for entry in kept.values() for out in entry["outs"])

    def both(section: str, path_of: Callable[[Any], str]) -> list[Any]:
        old = [item for item in _items(there, section) if path_of(item).startswith(below)]
        new = [item for item in _items(fresh, section) if item not in old]
        return sorted([*new, *old], key=lambda item: recipe_of_output(path_of(item)))

    by_recipe = {name: recipe_of_dvc_name(name) for name in (*fresh["stages"], *kept)}
    stages = sorted(
        {**fresh["stages"], **kept}.items(), key=lambda item: (by_recipe[item[0]] != GUARD, by_recipe[item[0]])
    )
    document = {
        "stages": dict(stages),
        "metrics": both("metrics", str),
        "plots": both("plots", lambda plot: str(next(iter(plot)))),
        "artifacts": dict(both("artifacts", lambda item: str(item[1]["path"]))),
    }
    return {key: value for key, value in document.items() if value}


def _items(document: Mapping[str, Any], section: str) -> list[Any]:
    found = document.get(section, ())
    return list(found.items() if isinstance(found, Mapping) else found)


def _kept(fresh: Mapping[str, Any], there: Mapping[str, Any], broken: Collection[str]) -> dict[str, Any]:
    """The stages of the broken recipes, and those of others that only they read."""
    outs = ((out, name) for name, entry in there.items() for out in entry["outs"])
    makers = {out if isinstance(out, str) else next(iter(out)): name for out, name in outs}
    # fresh already: the guard, though a file of that name is a broken recipe too
    waiting = [name for name in there if recipe_of_dvc_name(name) in broken and name not in fresh]
    wanted: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            read = (makers[dep] for dep in there[name]["deps"] if dep in makers)
            waiting += [maker for maker in read if maker not in fresh]
    return {name: entry for name, entry in there.items() if name in wanted}


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two contents of dvc.yaml mean the same to DVC: no order matters."""
    return _orderless(one) == _orderless(other)


def _orderless(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: sorted(value, key=str) if isinstance(value, list) else value for key, value in document.items()}
