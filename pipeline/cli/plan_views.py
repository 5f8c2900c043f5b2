"""A plan as people and tools read it: text, JSON, Mermaid."""

from __future__ import annotations

import json
from collections.abc import Mapping

from recast.pipeline.core.address import within
from recast.pipeline.planning.plan import Plan

WOULD_RUN = "would run"


def as_text(plan: Plan, states: Mapping[str, str]) -> str:
    """One line a stage, in an order that runs, below each recipe."""
    lines = []
    room = max(map(len, states.values()), default=0)
    for recipe in plan.recipes.values():
        lines.append(recipe.name)
        ids = [id for id in plan.stages if id in recipe.ids]
        width = max((len(id) for id in ids), default=0)
        wide = max(8, *(len(plan.stages[id].environment) for id in ids)) if ids else 0
        for id in ids:
            stage = plan.stages[id]
            state = f"  {states[id]:<{room}}" if id in states else ""
            reads = ", ".join(within(recipe.name, read) for read in dict.fromkeys(stage.inputs.values()))
            shown = within(recipe.name, id)  # a shared one shows whose it is
            lines.append(
                f"  {shown:<{width}}  {stage.environment:<{wide}}{state}{f'  ← {reads}' if reads else ''}".rstrip()
            )
    return "\n".join(lines)


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
        lines += [f'    {node[id]}["{s.address.within}"]' for id, s in plan.stages.items() if s.recipe == recipe]
        lines.append("  end")
    for id, stage in plan.stages.items():
        lines += [f"  {node[read]} --> {node[id]}" for read in dict.fromkeys(stage.inputs.values())]
    lines += [f"  style {node[id]} stroke-dasharray: 5 5" for id, state in states.items() if state == WOULD_RUN]
    return "\n".join(lines)
