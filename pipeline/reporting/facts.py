"""What is known of a recipe's results: of each stage its state, time and values, of each target what was measured.

Nothing is run, and nothing is claimed that was not looked at: a result is called verified only if DVC finds that the
stage which verifies is up to date, so that what it measured is of what the recipe says now.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import within
from recast.pipeline.core.layout import METRICS, RECIPES
from recast.pipeline.dvc.dvcfile import gathered
from recast.pipeline.dvc.explain_report import Explanation, Verdict
from recast.pipeline.execution.results import shipped_size
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes.stage_call import newest_report, read_timings_of_result
from recast.pipeline.processes.stage_logs import last_error
from recast.pipeline.reporting.limits import Limit, limits
from recast.pipeline.reporting.origins import Origins, Value
from recast.stages.registry import BROWSERS

LATENCY = "latency"
"""what a stage that verifies measured, beside its times: see `recast.stages.parity.latency`"""


class State(StrEnum):
    """Where a stage stands."""

    DONE = "up to date"
    CACHED = "in the cache"
    """what the recipe says now was made before, and a run would bring it back"""
    STALE = "stale"
    """there is a result, of other values, code or inputs than there are now"""
    FAILED = "failed"
    NOT_RUN = "not run"
    UNKNOWN = "not looked at"
    """there is a result, and DVC was not asked what it is of"""


@dataclass(frozen=True)
class Drawing:
    """A table in a stage's output that can be drawn, as `Plot` says; `path` relative to the repository."""

    path: str
    title: str
    template: str
    x: str
    y: tuple[str, ...]


@dataclass(frozen=True)
class StageFacts:
    """One stage of a recipe."""

    id: str
    name: str
    """as the recipe calls it: `[TARGET/]STAGE`, another recipe's by its id"""
    target: str | None
    uses: str
    environment: str
    state: State
    reasons: tuple[str, ...]
    """why it is not up to date"""
    error: str
    """of its last run here, if that failed"""
    log: str
    seconds: float | None
    """its run took that made the result which lies there, on this machine; None if another machine's did"""
    inputs: tuple[str, ...]
    out: str
    values: tuple[Value, ...]
    metrics: Mapping[str, Any]
    drawings: tuple[Drawing, ...]
    is_result: bool
    """whether its metrics are results of the recipe, as in its summary"""


@dataclass(frozen=True)
class TargetFacts:
    """What came of a target."""

    name: str
    state: State
    """of what it verifies; of the first stage before that is not up to date otherwise"""
    stages: tuple[str, ...]
    verifies: str | None
    """id of the stage that does"""
    error: str
    artifact: str | None
    size: int | None
    """bytes of the files that compute the scores"""
    metric: str
    is_share: bool
    metrics: Mapping[str, Any]
    """of the stage that verifies"""
    figures: Mapping[str, Any]
    """what the target's stages measured besides, in its own units"""
    limits: tuple[Limit, ...]
    latency: Mapping[str, Any]
    """empty if it was not measured on this machine"""
    parity: str
    """the newest report of the stage that verifies, relative to the repository; empty if there is none"""
    directories: Mapping[str, str]
    """what that stage reads: name -> folder relative to the repository; and `verified`, its own"""
    browser: Mapping[str, Any]
    """how the emitted folder runs in a browser: `folder`, `module`, `scripts`; empty if it does not"""

    @property
    def is_verified(self) -> bool:
        """Whether what lies there was measured as it is, and met every limit."""
        return self.state is State.DONE and bool(self.metrics)


@dataclass(frozen=True)
class RecipeFacts:
    """A recipe with its results."""

    name: str
    file: str
    stages: tuple[StageFacts, ...]
    targets: tuple[TargetFacts, ...]

    def stage(self, id: str) -> StageFacts:
        """The stage with that id, which the recipe has."""
        return next(stage for stage in self.stages if stage.id == id)


def gather(
    root: Path, plan: Plan, names: Iterable[str], explained: Mapping[str, Explanation] | None
) -> tuple[RecipeFacts, ...]:
    """The facts of these recipes. `explained`: what DVC says of each stage, by id; None if it was not asked."""
    origins = Origins(root)
    return tuple(_recipe(root, plan, name, explained, origins) for name in names)


def _recipe(
    root: Path, plan: Plan, name: str, explained: Mapping[str, Explanation] | None, origins: Origins
) -> RecipeFacts:
    planned, results = plan.recipes[name], gathered(plan, name)
    stages = {
        id: _stage(root, name, plan.stages[id], explained.get(id) if explained else None, origins, id in results)
        for id in plan.stages
        if id in planned.ids
    }
    targets = tuple(_target(root, plan, target, ids, stages) for target, ids in planned.targets.items())
    return RecipeFacts(name, f"{RECIPES}/{name}.yaml", tuple(stages.values()), targets)


def _stage(
    root: Path,
    recipe: str,
    stage: PlannedStage,
    explained: Explanation | None,
    origins: Origins,
    is_result: bool,
) -> StageFacts:
    there = (root / stage.out).is_dir()
    log, error = last_error(root, stage.dvc_name)
    state = _state(there, bool(error), explained)
    reasons = tuple(reason.text for reason in explained.reasons) if explained and state is not State.DONE else ()
    drawings = tuple(
        Drawing(f"{stage.out}/{plot.file}", plot.title, plot.template, plot.x, plot.y)
        for plot in stage.stage.plots_for(stage.params)
        if (root / stage.out / plot.file).is_file()
    )
    return StageFacts(
        stage.id,
        within(recipe, stage.id),
        stage.target,
        stage.uses,
        stage.environment,
        state,
        reasons,
        error if state is State.FAILED else "",
        log if state is State.FAILED else "",
        read_timings_of_result(root, stage).get("seconds"),
        tuple(dict.fromkeys(stage.inputs.values())),
        stage.out,
        origins.of(stage),
        _metrics(root, stage),
        drawings,
        is_result,
    )


def _state(there: bool, failed: bool, explained: Explanation | None) -> State:
    if explained is None:
        return State.UNKNOWN if there else State.FAILED if failed else State.NOT_RUN
    if explained.verdict is Verdict.UP_TO_DATE:
        return State.DONE
    if explained.verdict is Verdict.RESTORED:
        return State.STALE if there else State.CACHED
    if failed:
        return State.FAILED
    return State.STALE if there else State.NOT_RUN


def _target(root: Path, plan: Plan, name: str, ids: Mapping[str, str], stages: Mapping[str, StageFacts]) -> TargetFacts:
    planned = [plan.stages[id] for id in ids.values()]
    verifying = next((stage for stage in planned if stage.stage.reports), None)
    emitting = next((stage for stage in reversed(planned) if stage.stage.emits), None)
    facts = stages[verifying.id] if verifying else None
    metrics = facts.metrics if facts else {}
    standing = _standing([stages[id] for id in ids.values()], facts)
    artifact = f"{emitting.out}/{emitting.stage.emits}" if emitting else None
    return TargetFacts(
        name,
        standing.state if standing else State.NOT_RUN,
        tuple(ids.values()),
        facts.id if facts else None,
        standing.error if standing else "",
        artifact if artifact and (root / artifact).is_file() else None,
        shipped_size(root, plan, ids),
        str(metrics.get("metric") or ""),
        bool(metrics.get("is_share")),
        metrics,
        _figures([stages[stage.id] for stage in (emitting, verifying) if stage], facts),
        limits(verifying.params, metrics) if verifying else (),
        _latency(root, verifying) if verifying else {},
        newest_report(root, verifying) if verifying else "",
        _directories(plan, verifying) if verifying else {},
        _browser(root, emitting) if emitting else {},
    )


def _standing(stages: list[StageFacts], verifying: StageFacts | None) -> StageFacts | None:
    """The stage whose state is the target's: a failed one, else that which verifies, else the last."""
    failed = next((stage for stage in stages if stage.state is State.FAILED), None)
    return failed or verifying or (stages[-1] if stages else None)


def _figures(stages: list[StageFacts], verifying: StageFacts | None) -> dict[str, Any]:
    """Numbers, words and flags that are no metric of both models: cycles, gas, layers in hardware and the like."""
    found: dict[str, Any] = {}
    for stage in stages:
        pairs = {name for name in stage.metrics if f"{name.removesuffix('_float')}_emitted" in stage.metrics}
        pairs |= {name for name in stage.metrics if f"{name.removesuffix('_emitted')}_float" in stage.metrics}
        known = {*pairs, *_OF_ALL} if stage is verifying else {"size_bytes"}
        for name, value in stage.metrics.items():
            if name not in known and isinstance(value, int | float | str):
                found[f"{stage.name.rpartition('/')[2]}.{name}"] = value
    return found


_OF_ALL = ("metric", "is_share", "agreement", "cosine", "sqnr_db", "max_abs_error", "size_bytes", "samples", "cpu")
"""metrics that every stage which verifies has"""


def _latency(root: Path, stage: PlannedStage) -> Mapping[str, Any]:
    found = read_timings_of_result(root, stage).get(LATENCY)
    return found if isinstance(found, dict) else {}  # a plugin's stage may keep a time by that name


def _directories(plan: Plan, stage: PlannedStage) -> dict[str, str]:
    return {"verified": stage.out, **{name: plan.stages[id].out for name, id in stage.inputs.items()}}


def _browser(root: Path, stage: PlannedStage) -> dict[str, Any]:
    client = BROWSERS.get(stage.uses)
    if client is None or not (root / stage.out / client.module).is_file():
        return {}
    return {
        "folder": stage.out,
        "module": client.module,
        "scripts": [str(path) for path in client.scripts],
    }


def _metrics(root: Path, stage: PlannedStage) -> dict[str, Any]:
    try:
        found = json.loads((root / stage.out / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
