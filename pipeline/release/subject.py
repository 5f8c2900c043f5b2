"""What a release is of: one target of a recipe, with every stage it rests on, looked at before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import Address, recipe_of
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import METRICS
from recast.pipeline.dvc import explain
from recast.pipeline.dvc.current import refuse_stale
from recast.pipeline.dvc.explain_report import Verdict
from recast.pipeline.dvc.lockfile import LOCK, read_lock
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.planning.partial_plan import make_sound_plan
from recast.pipeline.planning.plan import Plan, PlannedStage, reachable
from recast.pipeline.processes import environments
from recast.pipeline.release.git_state import GitState, git_state


@dataclass(frozen=True)
class Subject:
    """A target whose artifacts are up to date and whose emitted model was verified."""

    root: Path
    address: Address
    """RECIPE/TARGET"""
    stages: tuple[PlannedStage, ...]
    """those of the target and all that these rest on, in an order that runs"""
    emitting: PlannedStage
    verifying: PlannedStage
    metrics: Mapping[str, Mapping[str, Any]]
    """id of a stage -> what it measured"""
    lock: Mapping[str, Mapping[str, Any]]
    """id of a stage -> its entry in dvc.lock"""
    git: GitState

    @property
    def emitted(self) -> Path:
        """The emitted folder."""
        return self.root / self.emitting.out

    @property
    def contract(self) -> Mapping[str, Any]:
        """The input.json of the emitted folder; empty where a target emits none."""
        path = self.emitted / "input.json"
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return content


def subject(root: Path, what: str, say: Callable[[str], None]) -> Subject:
    """What RECIPE/TARGET means, looked at.

    Raises RecastError, which says how to mend it, if there is no such target, if dvc.yaml does not match the recipes,
    if an artifact is missing or not up to date, and if the emitted model was not verified.
    """
    plan = make_sound_plan(root, [recipe_of(what)])
    address = plan.locate_target(what)
    own = plan.ids(address)
    reached = reachable(own, lambda id: plan.stages[id].inputs.values())
    stages = tuple(stage for id, stage in plan.stages.items() if id in reached)
    refuse_stale(root, plan, stages)
    emitting, verifying = _ends(plan, address, own)
    environments.device(root)
    repository = Repository(root, say)
    try:
        found = explain.explain(repository, plan, [stage.id for stage in stages])
    finally:
        repository.close()
    for one in found:
        if one.verdict is not Verdict.UP_TO_DATE:
            why = one.reasons[0].text if one.reasons else str(one.verdict)
            remedy = f"run '{address.run_command(root)}'"
            if one.stage == verifying.id:
                remedy += "; where that fails, the emitted model misses a limit, and cannot be released"
            raise RecastError(f"{one.stage} is not up to date: {why}", remedy)
    entries = read_lock(root / LOCK)["stages"]
    made = {stage.out for stage in stages}
    reads = {path for stage in stages for path in (*stage.code, *(file for file, _ in stage.tracked))}
    # what DVC has of the data is no change of git's: its `.dvc` file is, or its stage
    reads |= {path for stage in stages for path in stage.files.values() if not (root / f"{path}.dvc").exists()} - made
    return Subject(
        root,
        address,
        stages,
        emitting,
        verifying,
        {stage.id: _metrics(root, stage) for stage in stages},
        {stage.id: entries[stage.dvc_name] for stage in stages},
        git_state(root, reads),
    )


def _ends(plan: Plan, address: Address, own: tuple[str, ...]) -> tuple[PlannedStage, PlannedStage]:
    stages = [plan.stages[id] for id in own]
    emitting = [stage for stage in stages if stage.stage.emits]
    verifying = [stage for stage in stages if stage.stage.reports]
    for found, does in ((emitting, "emits a model"), (verifying, "verifies what was emitted")):
        if not found:
            raise RecastError(
                f"target '{address.target}' has no stage that {does}", "only what is verified is released"
            )
    return emitting[-1], verifying[-1]


def _metrics(root: Path, stage: PlannedStage) -> Mapping[str, Any]:
    path = root / stage.out / METRICS
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecastError(f"cannot read the metrics of {stage.id}: {error}", f"run {stage.id} again") from error
    return content
