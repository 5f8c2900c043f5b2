"""Two sets of results side by side: of two recipes, of a recipe then and now, or of two revisions.

Of a revision what its dvc.lock records is read from DVC's cache, and nothing is checked out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import recipe_of_dvc_name
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.git import git_or_none
from recast.pipeline.core.layout import ARTIFACTS, DEVICE_STAGE, GUARD
from recast.pipeline.dvc import session
from recast.pipeline.dvc.differences import ABSENT, Difference, differences
from recast.pipeline.dvc.dvcfile import summary_path
from recast.pipeline.dvc.lockfile import LOCK, parse_lock, read_lock
from recast.pipeline.planning.plan import Plan, reachable
from recast.pipeline.reporting.facts import RecipeFacts, StageFacts, State
from recast.stages.common.spelling import did_you_mean


@dataclass(frozen=True)
class Side:
    """The results of one recipe in one place."""

    label: str
    recipe: str
    metrics: Mapping[str, Mapping[str, Any]]
    """`[TARGET/]STAGE` -> its metrics, of the stages that measure results"""
    values: Mapping[str, Any]
    """what it was made with: nested, down to single values"""
    files: Mapping[str, str] = field(default_factory=dict)
    """code, pins and data it was made with -> their hashes, as a dvc.lock records them; empty where none was asked"""
    stale: tuple[str, ...] = ()
    """targets whose results are not of what is there now, or were not looked at"""


@dataclass(frozen=True)
class Row:
    """One number, or word, of both sides; None where a side has none."""

    stage: str
    name: str
    before: Any
    after: Any

    @property
    def change(self) -> float | None:
        """How much more the second side has; None where either has no number."""
        both = (self.before, self.after)
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in both):
            return None
        return float(self.after - self.before)


@dataclass(frozen=True)
class Comparison:
    """Two sides, what they measured, and what they were made with that is not the same."""

    before: Side
    after: Side
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...] = field(default=())
    files: tuple[str, ...] | None = None
    """code, pins and data that are not the same; None if that was not looked at"""


def compare(
    root: Path, plan: Plan, first: str, second: str, facts: Mapping[str, RecipeFacts]
) -> tuple[Comparison, ...]:
    """Compare what `first` and `second` name: recipes of the plan, or git revisions.

    Two recipes are compared as they are now; a recipe and a revision, that recipe then and now; of two revisions every
    recipe that has results in both. `facts` of the recipes that are named. Raises RecastError for a name that is
    neither, and for a revision whose results are not in the cache.
    """
    named = [name for name in (first, second) if name in plan.recipes]
    if len(named) == 2:
        sides = [of_recipe(facts[name]) for name in named]
        return (_comparison(*sides),)
    locks = {name: _lock_at(root, name, plan) for name in dict.fromkeys((first, second)) if name not in plan.recipes}
    now = read_lock(root / LOCK) if named else {}
    found = []
    for recipe in named or _recipes(locks.values()):
        pair = [
            _of_facts(facts[recipe], _recorded(now, recipe), _files(now, recipe))
            if name == recipe
            else of_revision(root, name, locks[name], recipe)
            for name in (first, second)
        ]
        found.append(_comparison(*pair))
    if not found:
        raise RecastError(f"no recipe has results in both {first} and {second}", "name a recipe, or run one first")
    return tuple(found)


def of_recipe(facts: RecipeFacts) -> Side:
    """A recipe as it is now, with its params as they were resolved."""
    values = {_called(stage): {value.name: value.value for value in stage.values} for stage in facts.stages}
    return _of_facts(facts, values)


def _of_facts(facts: RecipeFacts, values: Mapping[str, Any], files: Mapping[str, str] | None = None) -> Side:
    metrics = {_called(stage): stage.metrics for stage in facts.stages if stage.is_result and stage.metrics}
    stale = tuple(target.name for target in facts.targets if target.state is not State.DONE)
    return Side(facts.name, facts.name, metrics, values, files or {}, stale)


def _called(stage: StageFacts) -> str:
    """As every recipe that has the stage calls it, its own or a shared one: `[TARGET/]STAGE`."""
    return "/".join(filter(None, (stage.target, stage.name.rpartition("/")[2])))


def of_revision(root: Path, revision: str, lock: Mapping[str, Any], recipe: str) -> Side:
    """The results of a recipe that a revision's dvc.lock records. RecastError if they are not in the cache."""
    entry = lock["stages"].get(recipe)
    path = summary_path(recipe)
    recorded = next((out for out in (entry or {}).get("outs", ()) if out["path"] == path), None)
    if recorded is None:
        raise RecastError(
            f"{LOCK} of {revision} records no results of the recipe '{recipe}'", "name a revision in which it had run"
        )
    with session.opened(root) as repo:
        cached = Path(repo.cache.local.oid_to_path(str(recorded.get("md5"))))
    try:
        summary = json.loads(cached.read_text(encoding="utf-8"))
        metrics = dict(summary["trunk"])
        for target, stages in summary["targets"].items():
            measured = {name: value for name, value in stages.items() if isinstance(value, Mapping)}
            metrics |= {f"{target}/{name}": value for name, value in measured.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecastError(
            f"the results of '{recipe}' in {revision} are not in DVC's cache, or damaged",
            f"fetch them with 'git checkout {revision} && dvc fetch', or run the recipe there",
        ) from error
    return Side(f"{recipe} at {revision}", recipe, metrics, _recorded(lock, recipe), _files(lock, recipe))


def _recorded(lock: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """What a dvc.lock says the stages of a recipe were made with: stage -> key of a file -> value."""
    found: dict[str, Any] = {}
    for name, entry in _entries(lock, recipe).items():
        values: dict[str, Any] = {}
        for file, keys in (entry.get("params") or {}).items():
            values |= {f"{file}:{key}": value for key, value in (keys or {}).items()}
        # a stage that is shared is called as the recipe calls it
        found[name.partition("-")[2].replace("-", "/")] = values
    return found


def _files(lock: Mapping[str, Any], recipe: str) -> dict[str, str]:
    """What a dvc.lock says the stages of a recipe read besides what other stages wrote: path -> hash."""
    return {
        dep["path"]: str(dep.get("md5"))
        for entry in _entries(lock, recipe).values()
        for dep in entry.get("deps") or ()
        if not dep["path"].startswith(f"{ARTIFACTS}/")
    }


def _entries(lock: Mapping[str, Any], recipe: str) -> dict[str, Mapping[str, Any]]:
    """The stages that a recipe's results came from, shared ones too, by name in a dvc.lock."""
    stages = lock.get("stages", {})
    made_by = {out["path"]: name for name, entry in stages.items() for out in entry.get("outs") or ()}

    def following(name: str) -> list[str]:
        deps = stages.get(name, {}).get("deps") or ()
        return [made_by[dep["path"]] for dep in deps if dep["path"] in made_by]

    names = reachable([recipe], following) - {recipe, GUARD, DEVICE_STAGE}
    return {name: stages[name] for name in sorted(names) if name in stages and recipe_of_dvc_name(name) != name}


def _comparison(before: Side, after: Side) -> Comparison:
    rows = []
    for stage in dict.fromkeys([*before.metrics, *after.metrics]):
        one, other = before.metrics.get(stage, {}), after.metrics.get(stage, {})
        for name in dict.fromkeys([*one, *other]):
            if isinstance(one.get(name, other.get(name)), bool | int | float | str) and name not in ("is_share",):
                rows.append(Row(stage, name, one.get(name), other.get(name)))
    files = None
    if before.files and after.files:
        both = sorted({*before.files, *after.files})
        files = tuple(path for path in both if before.files.get(path) != after.files.get(path))
    return Comparison(before, after, tuple(rows), tuple(differences("", before.values, after.values)), files)


def _recipes(locks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Recipes whose results all these locks record."""
    having = [
        {
            name
            for name, entry in lock["stages"].items()
            if any(o["path"] == summary_path(name) for o in entry.get("outs", ()))
        }
        for lock in locks
    ]
    return sorted(set.intersection(*having)) if having else []


def _lock_at(root: Path, revision: str, plan: Plan) -> dict[str, Any]:
    """dvc.lock as a git revision has it. RecastError if there is no such revision, or it has none."""
    if git_or_none(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}") is None:
        raise RecastError(
            f"'{revision}' is neither a recipe in recipes/ nor a git revision", did_you_mean(revision, plan.recipes)
        )
    text = git_or_none(root, "show", f"{revision}:./{LOCK}")
    if text is None:
        raise RecastError(f"{revision} has no {LOCK}", "name a revision in which the recipe had run")
    return parse_lock(text, f"{LOCK} of {revision}")


def as_json(found: Iterable[Comparison]) -> list[dict[str, Any]]:
    """For tools, and for the page."""

    def side(one: Side) -> dict[str, Any]:
        return {"label": one.label, "recipe": one.recipe, "metrics": one.metrics, "not_current": list(one.stale)}

    return [
        {
            "before": side(one.before),
            "after": side(one.after),
            "files": None if one.files is None else list(one.files),
            "rows": [{**vars(row), "change": row.change} for row in one.rows],
            "differences": [
                {
                    "key": each.key,
                    **{
                        name: value
                        for name, value in (("before", each.before), ("after", each.after))
                        if value is not ABSENT
                    },
                }
                for each in one.differences
            ],
        }
        for one in found
    ]
