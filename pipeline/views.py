"""A plan as people and tools read it: text, JSON, Mermaid."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pipeline.plan import Plan

WOULD_RUN = "would run"


def as_text(plan: Plan, states: Mapping[str, str]) -> str:
    """One line a stage, in an order that runs, below each recipe."""
    lines = []
    room = max(map(len, states.values()), default=0)
    for recipe in plan.recipes.values():
        lines.append(recipe.name)
        ids = [id for id in plan.stages if id in recipe.ids]
        width = max((len(id) for id in ids), default=0)
        for id in ids:
            stage = plan.stages[id]
            state = f"  {states[id]:<{room}}" if id in states else ""
            reads = ", ".join(_shorten(read, recipe.name) for read in dict.fromkeys(stage.inputs.values()))
            shown = _shorten(id, recipe.name)
            lines.append(f"  {shown:<{width}}  {stage.environment:<8}{state}{f'  ← {reads}' if reads else ''}".rstrip())
    return "\n".join(lines)


def _shorten(id: str, recipe: str) -> str:
    # a stage of the recipe itself needs no recipe name; a shared one shows whose it is
    return id.removeprefix(f"{recipe}/")


def as_json(plan: Plan, states: Mapping[str, str]) -> str:
    """Every stage with its params, inputs, dependencies and output; `state` where it is known."""
    stages = {}
    for id, stage in plan.stages.items():
        stages[id] = {
            "uses": stage.uses,
            "environment": stage.environment,
            "params": dict(stage.params),
            "inputs": dict(stage.inputs),
            "tracked": [list(pair) for pair in stage.tracked],
            "code": list(stage.code),
            "files": dict(stage.files),
            "out": stage.out,
            **({"state": states[id]} if id in states else {}),
        }
    recipes = {
        name: {"trunk": dict(recipe.trunk), "targets": {target: dict(ids) for target, ids in recipe.targets.items()}}
        for name, recipe in plan.recipes.items()
    }
    return json.dumps({"recipes": recipes, "stages": stages}, indent=2)


def as_mermaid(plan: Plan, states: Mapping[str, str]) -> str:
    """A Mermaid flowchart; stages that would run have a dashed border."""
    node = {id: f"s{number}" for number, id in enumerate(plan.stages)}
    lines = ["flowchart LR"]
    for recipe in dict.fromkeys(stage.recipe for stage in plan.stages.values()):
        lines.append(f"  subgraph {recipe}")
        lines += [f'    {node[id]}["{s.address}"]' for id, s in plan.stages.items() if s.recipe == recipe]
        lines.append("  end")
    for id, stage in plan.stages.items():
        lines += [f"  {node[read]} --> {node[id]}" for read in dict.fromkeys(stage.inputs.values())]
    lines += [f"  style {node[id]} stroke-dasharray: 5 5" for id, state in states.items() if state == WOULD_RUN]
    return "\n".join(lines)
