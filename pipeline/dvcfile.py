"""Plan -> dvc.yaml, and whether the one on disk still matches.

Commands, dependencies and outputs are part of DVC's cache key, so nothing here may depend on the
machine: no absolute path, no interpreter, no device number.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.environments import DEVICE
from pipeline.errors import RecastError
from pipeline.kept_stages import same, with_kept
from pipeline.layout import ARTIFACTS, DEFAULTS, GUARD, RECIPES
from pipeline.plan import Plan, PlannedStage
from pipeline.sound_plan import to_mend

DVCFILE = "dvc.yaml"
GUARD_PASS = f"{ARTIFACTS}/{GUARD}.txt"
"""read by every root stage; its content never changes, so only a guard that fails stops them"""
GUARD_TEXT = "dvc.yaml matches the recipes\n"
SUMMARY = "summary.json"
METRICS = "metrics.json"
_SYNC = "run './recast sync'"
SYNC_REMEDY = f"{_SYNC} and then this command again"

_HEADER = f"""\
# Written by `recast sync` from {RECIPES}/ and {DEFAULTS}: edit those, not this.
# Run a recipe with `dvc repro NAME` or `recast run NAME`.
"""


def dvc_document(plan: Plan) -> dict[str, Any]:
    """The content of dvc.yaml for a plan of all recipes, as plain values."""
    stages: dict[str, Any] = {GUARD: guard_entry()}
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


def guard_entry() -> dict[str, Any]:
    """The guard stage: it fails when dvc.yaml no longer matches the recipes."""
    return {"cmd": f"./recast stage {GUARD}", "deps": [DEFAULTS, RECIPES], "outs": [GUARD_PASS]}


def stage_entry(plan: Plan, stage: PlannedStage) -> dict[str, Any]:
    """The entry of one stage."""
    upstream = [plan.stages[id].out for id in stage.inputs.values()]
    roots = [] if upstream else [GUARD_PASS]
    device = [DEVICE] if stage.follows_device else []
    deps = sorted({*upstream, *roots, *device, *stage.code, *stage.files.values()})
    entry: dict[str, Any] = {"cmd": f"./recast stage {stage.recipe} {stage.address}", "deps": deps}
    if params := _params(stage.tracked):
        entry["params"] = params
    entry["outs"] = [stage.out]
    return entry


def recipe_entry(plan: Plan, recipe: str) -> dict[str, Any]:
    """The stage that bears the recipe's name and gathers its results."""
    deps = sorted(plan.stages[id].out for id in gathered(plan, recipe))
    return {"cmd": f"./recast stage {recipe}", "deps": deps, "outs": [f"{ARTIFACTS}/{recipe}/{SUMMARY}"]}


def gathered(plan: Plan, recipe: str) -> tuple[str, ...]:
    """Ids of the stages a recipe's summary reads: those of its stages that no other of them reads."""
    ids = plan.recipes[recipe].ids
    read = {source for id in ids for source in plan.stages[id].inputs.values()}
    # the trained model's own metrics belong in the summary even though other stages read them
    return tuple(id for id in ids if id not in read or plan.stages[id].name in ("train", "import"))


def _params(tracked: Iterable[tuple[str, str]]) -> list[dict[str, list[str]]]:
    by_file: dict[str, list[str]] = {}
    for file, key in tracked:
        by_file.setdefault(file, []).append(key)
    return [{file: sorted(keys)} for file, keys in sorted(by_file.items())]


def _plots(stage: PlannedStage) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for plot in stage.stage.plots:
        path = f"{stage.out}/{plot.file}"
        title = f"{stage.id}: {plot.title or PurePosixPath(plot.file).stem}"
        y = list(plot.y) if len(plot.y) > 1 else plot.y[0]
        entries.append({path: {"template": plot.template, "title": title, "x": plot.x, "y": y}})
    return entries


def _artifact(stage: PlannedStage) -> tuple[str, dict[str, Any]]:
    name = f"{stage.recipe}-{stage.target or stage.name}"
    described = f"{stage.recipe} recast for {stage.target}" if stage.target else f"{stage.recipe}"
    labels = [stage.target] if stage.target else []
    return name, {"path": f"{stage.out}/{stage.stage.emits}", "type": "model", "desc": described, "labels": labels}


def render(document: Mapping[str, Any]) -> str:
    """dvc.yaml as text, the same for the same plan."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096  # a folded command would be another command to a reader
    text = io.StringIO()
    yaml.dump(dict(document), text)
    return _HEADER + text.getvalue()


def is_current(root: Path, plan: Plan) -> bool:
    """Whether dvc.yaml on disk is what the plan of all recipes gives, apart from those that it leaves out.

    Raises RecastError if it leaves some out, and dvc.yaml cannot be read.
    """
    return _renewed(root, plan) is None


def _renewed(root: Path, plan: Plan) -> str | None:
    """The text that dvc.yaml must become; None if it may stay as it is."""
    fresh = dvc_document(plan)
    try:
        text = (root / DVCFILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return render(fresh)
    if plan.broken:
        try:
            there = YAML(typ="safe").load(text)
            fresh = with_kept(fresh, there, plan.broken)
        except (YAMLError, RecastError) as error:
            message = f"{DVCFILE} cannot be read, and it alone knows the stages of {', '.join(plan.broken)}"
            remedy = f"mend {to_mend(plan)}, or restore {DVCFILE} from git"
            raise RecastError(message, remedy) from error
        # without a recipe that extends them, stages may come in another order
        if same(fresh, there):
            return None
    rendered = render(fresh)
    return None if rendered == text else rendered


def write(root: Path, plan: Plan) -> bool:
    """Bring dvc.yaml up to date, what it says of recipes the plan leaves out excepted; whether it had to change."""
    renewed = _renewed(root, plan)
    if renewed is None:
        return False
    fresh = root / f"{DVCFILE}.new"
    fresh.write_text(renewed, encoding="utf-8")
    fresh.replace(root / DVCFILE)
    return True


def pass_guard(root: Path, plan: Plan) -> None:
    """Do the guard stage: RecastError unless dvc.yaml matches the plan of all recipes."""
    if not is_current(root, plan):
        raise RecastError("dvc.yaml no longer matches the recipes", f"{sync_remedy(plan)} and then this command again")
    write_pass(root)


def write_pass(root: Path) -> None:
    """Write what the guard leaves for the stages that wait for it."""
    path = root / GUARD_PASS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GUARD_TEXT, encoding="utf-8")


def sync_remedy(plan: Plan) -> str:
    """How to bring dvc.yaml up to date."""
    return f"run './recast run NAME', or mend {to_mend(plan)} and {_SYNC}" if plan.problems else _SYNC


def refuse_stale_entry(root: Path, name: str, expected: Mapping[str, Any]) -> None:
    """RecastError unless dvc.yaml holds exactly this entry for the stage that is about to run."""
    try:
        document = YAML(typ="safe").load((root / DVCFILE).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise RecastError(f"there is no {DVCFILE}", SYNC_REMEDY) from None
    if document.get("stages", {}).get(name) != expected:
        raise RecastError(f"{DVCFILE} no longer matches the recipes (stage '{name}')", SYNC_REMEDY)
