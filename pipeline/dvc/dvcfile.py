"""Plan -> Recast's entries of dvc.yaml, and whether the file on disk still matches.

Commands, dependencies and outputs are part of DVC's cache key, so nothing here may depend on the
machine: no absolute path, no interpreter, no device number.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError, RecipeError
from recast.pipeline.core.layout import (
    ARTIFACTS,
    DEFAULTS,
    DEVICE,
    DEVICE_STAGE,
    DEVICE_WITHIN,
    GUARD,
    METRICS,
    RECIPES,
    STAGE_LAUNCHER,
)
from recast.pipeline.core.whole_file import replaced
from recast.pipeline.dvc import plugin_lock
from recast.pipeline.dvc.broken_recipes import same, with_kept
from recast.pipeline.dvc.dvcfile_parts import DVCFILE, Parts, put_together, same_entries, take_apart
from recast.pipeline.planning.partial_plan import to_mend
from recast.pipeline.planning.plan import Plan, PlannedStage

GUARD_PASS = f"{ARTIFACTS}/{GUARD}.txt"
"""read by every root stage; its content never changes, so only a guard that fails stops them"""
GUARD_TEXT = "dvc.yaml matches the recipes\n"
SUMMARY = "summary.json"
_SYNC = f"run '{STAGE_LAUNCHER} sync'"
SYNC_REMEDY = f"{_SYNC} and then this command again"

_HEADER = f"""\
# Stages whose command is `./recast stage …`, and their metrics, plots and artifacts, are written by `recast sync`
# from {RECIPES}/ and {DEFAULTS}: edit those. All else in this file is yours. Run a recipe with `dvc repro NAME`.
"""


def dvc_document(plan: Plan) -> dict[str, Any]:
    """The content of dvc.yaml for a plan of all recipes, as plain values."""
    stages: dict[str, Any] = {GUARD: guard_entry(uses_installed=bool(plugin_lock.digests(plan.stages.values())))}
    if any(stage.follows_device for stage in plan.stages.values()):
        stages[DEVICE_STAGE] = device_entry()
    for recipe in sorted(plan.recipes):
        stages[recipe] = recipe_entry(plan, recipe)
        stages.update({stage.dvc_name: stage_entry(plan, stage) for stage in _owned(plan, recipe)})
    owned = [stage for recipe in sorted(plan.recipes) for stage in _owned(plan, recipe)]
    document: dict[str, Any] = {"stages": stages}
    # what measures a model; the other stages' metrics would only make the table of `dvc metrics show` wide
    measured = {id for recipe in plan.recipes for id in gathered(plan, recipe)}
    document["metrics"] = [f"{stage.out}/{METRICS}" for stage in owned if stage.id in measured]
    document["plots"] = [entry for stage in owned for entry in _plots(stage)]
    document["artifacts"] = dict(_artifact(stage) for stage in owned if stage.stage.emits)
    return {key: value for key, value in document.items() if value}


def _owned(plan: Plan, recipe: str) -> list[PlannedStage]:
    return [stage for stage in plan.stages.values() if stage.recipe == recipe]


def guard_entry(*, uses_installed: bool = False) -> dict[str, Any]:
    """The guard stage: it fails when dvc.yaml no longer matches the recipes, and brings recast.lock up to date."""
    entry = {"cmd": Address(GUARD).stage_command, "deps": [DEFAULTS, RECIPES], "outs": [GUARD_PASS]}
    # nothing in the repository changes when what is installed is upgraded
    return {**entry, "always_changed": True} if uses_installed else entry


def device_entry() -> dict[str, Any]:
    """The stage that writes device.txt, which git does not have: a fresh clone and DVC's copies of it lack the file.

    It is not in the cache, or the choice of one machine would come to another; and it stays, since people write it.
    The guard could not write it: two runs of DVC, of which one trains, would stop each other.
    """
    outs = [{DEVICE: {"cache": False, "persist": True}}]
    return {"cmd": Address(GUARD, DEVICE_WITHIN).stage_command, "outs": outs}


def stage_entry(plan: Plan, stage: PlannedStage) -> dict[str, Any]:
    """The entry of one stage."""
    upstream = [plan.stages[id].out for id in stage.inputs.values()]
    roots = [] if upstream else [GUARD_PASS]
    device = [DEVICE] if stage.follows_device else []
    deps = sorted({*upstream, *roots, *device, *stage.code, *stage.files.values()})
    entry: dict[str, Any] = {"cmd": stage.address.stage_command, "deps": deps}
    if params := _params(stage.tracked):
        entry["params"] = params
    entry["outs"] = [stage.out]
    return entry


def recipe_entry(plan: Plan, recipe: str) -> dict[str, Any]:
    """The stage that bears the recipe's name and gathers its results."""
    deps = sorted(plan.stages[id].out for id in gathered(plan, recipe))
    return {"cmd": Address(recipe).stage_command, "deps": deps, "outs": [summary_path(recipe)]}


def summary_path(recipe: str) -> str:
    """Where the recipe's results are gathered, relative to the repository."""
    return f"{Address(recipe).out}/{SUMMARY}"


def gathered(plan: Plan, recipe: str) -> tuple[str, ...]:
    """Ids of the stages a recipe's summary reads: those of its stages that no other of them reads, or `in_summary`."""
    ids = plan.recipes[recipe].ids
    read = {source for id in ids for source in plan.stages[id].inputs.values()}
    return tuple(id for id in ids if id not in read or plan.stages[id].stage.in_summary)


def _params(tracked: Iterable[tuple[str, str]]) -> list[dict[str, list[str]]]:
    by_file: dict[str, list[str]] = {}
    for file, key in tracked:
        by_file.setdefault(file, []).append(key)
    return [{file: sorted(keys)} for file, keys in sorted(by_file.items())]


def _plots(stage: PlannedStage) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for plot in stage.stage.plots_for(stage.params):
        path = f"{stage.out}/{plot.file}"
        title = f"{stage.id}: {plot.title or PurePosixPath(plot.file).stem}"
        y = list(plot.y) if len(plot.y) > 1 else plot.y[0]
        entries.append({path: {"template": plot.template, "title": title, "x": plot.x, "y": y}})
    return entries


def _artifact(stage: PlannedStage) -> tuple[str, dict[str, Any]]:
    name = Address(stage.recipe, stage.target or stage.name).dvc_name
    described = f"{stage.recipe} recast for {stage.target}" if stage.target else f"{stage.recipe}"
    labels = [stage.target] if stage.target else []
    return name, {"path": f"{stage.out}/{stage.stage.emits}", "type": "model", "desc": described, "labels": labels}


def render(document: Mapping[str, Any]) -> str:
    """A dvc.yaml of Recast's entries alone as text, the same for the same plan."""
    return _HEADER + _body(document)


def _body(document: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096  # a folded command would be another command to a reader
    text = io.StringIO()
    yaml.dump(dict(document), text)
    return text.getvalue()


def is_current(root: Path, plan: Plan) -> bool:
    """Whether dvc.yaml on disk holds what the plan of all recipes gives, apart from those that it leaves out.

    Raises RecastError if dvc.yaml cannot be read, and RecipeError if what is the user's in it stands in the way.
    """
    return _renewed(root, plan) is None


def _renewed(root: Path, plan: Plan) -> str | None:
    """The text that dvc.yaml must become; None if it may stay as it is."""
    fresh = dvc_document(plan)
    try:
        text = (root / DVCFILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return render(fresh)
    except UnicodeDecodeError as error:
        message = f"{DVCFILE} cannot be read: it is not UTF-8 text (byte {error.start})"
        raise RecastError(message, "save it as UTF-8") from None
    body = _body(fresh)
    if not plan.broken and text == _HEADER + body:
        return None
    parts = _parts(text, fresh, plan)
    if plan.broken:
        there = parts.document()
        try:
            fresh = with_kept(fresh, there, plan.broken)
        except RecastError as error:
            raise _unknown(plan) from error
        # without a recipe that extends them, stages may come in another order
        if same(fresh, there):
            return None
        body = _body(fresh)
    wanted = take_apart(body, {})
    if not parts.dropped and all(same_entries(parts.ours[section], wanted.ours[section]) for section in wanted.ours):
        return None
    if parts.wholly_ours():
        return (parts.head if text.strip() else _HEADER) + body
    return put_together(parts, {section: text for section in wanted.ours if (text := wanted.text_of(section))})


def _parts(text: str, fresh: Mapping[str, Any], plan: Plan) -> Parts:
    """dvc.yaml taken apart; if it alone knows the stages of broken recipes, there must be no doubt of them."""
    try:
        parts = take_apart(text, fresh)
    except RecipeError:
        raise
    except RecastError as error:
        if plan.broken:
            raise _unknown(plan, f" ({error.message})") from error
        raise
    if plan.broken and parts.dropped:
        raise _unknown(plan, " (it holds a merge conflict)")
    return parts


def _unknown(plan: Plan, why: str = "") -> RecastError:
    message = f"{DVCFILE} cannot be read{why}, and it alone knows the stages of {', '.join(plan.broken)}"
    return RecastError(message, f"mend {to_mend(plan)}, or restore {DVCFILE} from git")


def write(root: Path, plan: Plan) -> bool:
    """Bring dvc.yaml up to date, what it says of recipes the plan leaves out excepted; whether it had to change."""
    renewed = _renewed(root, plan)
    if renewed is None:
        return False
    with replaced(root / DVCFILE) as fresh:
        fresh.write_text(renewed, encoding="utf-8")
    return True


def pass_guard(root: Path, plan: Plan, renew: Callable[[Path, Plan], str] | None = None) -> str:
    """Do the guard stage: RecastError unless dvc.yaml matches the plan of all recipes, and recast.lock their code.

    `renew` first brings recast.lock up to date, and what it says is returned: DVC reads the params of a stage when it
    comes to it, and to the guard it comes first.
    """
    if not is_current(root, plan):
        raise RecastError("dvc.yaml no longer matches the recipes", f"{sync_remedy(plan)} and then this command again")
    said = renew(root, plan) if renew else ""
    plugin_lock.refuse_stale(root, plan.stages.values())
    write_pass(root)
    return said


def write_pass(root: Path) -> None:
    """Write what the guard leaves for the stages that wait for it."""
    path = root / GUARD_PASS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GUARD_TEXT, encoding="utf-8")


def sync_remedy(plan: Plan) -> str:
    """How to bring dvc.yaml up to date."""
    return f"run '{STAGE_LAUNCHER} run NAME', or mend {to_mend(plan)} and {_SYNC}" if plan.problems else _SYNC


def refuse_stale_entry(root: Path, name: str, expected: Mapping[str, Any]) -> None:
    """RecastError unless dvc.yaml holds exactly this entry for the stage that is about to run."""
    try:
        document = YAML(typ="safe").load((root / DVCFILE).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise RecastError(f"there is no {DVCFILE}", SYNC_REMEDY) from None
    if (document.get("stages") or {}).get(name) != expected:
        raise RecastError(f"{DVCFILE} no longer matches the recipes (stage '{name}')", SYNC_REMEDY)
