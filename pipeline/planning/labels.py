"""Labels in a stage's `resources`: what it asks of a worker besides cores, memory and GPUs.

They say where a stage may run and nothing of what comes out, so a stage's process is not told of them. Written in a
recipe they are part of its `resources`, which DVC tracks as a whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from recast.pipeline.core.errors import Problem
from recast.pipeline.planning.value_layer import Layer
from recast.pipeline.recipes.value_words import shortened
from recast.stages.common.argument_types import LABEL

LABELS = "labels"
_RESOURCES = "resources"
SCHEMA: dict[str, Any] = {
    "description": "What else of a worker the stage needs, and how much: names that workers were started with.",
    "type": "object",
    "patternProperties": {f"^{LABEL}$": {"type": "number", "exclusiveMinimum": 0}},
    "additionalProperties": False,
}


def without_labels(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as the stage's own params are made from them."""
    resources = values.get(_RESOURCES)
    if isinstance(resources, Mapping) and LABELS in resources:
        return {**values, _RESOURCES: {key: value for key, value in resources.items() if key != LABELS}}
    return dict(values)


def labels_of(layers: list[Layer], problems: list[Problem]) -> dict[str, float]:
    """The labels of the strongest layer that says anything of resources; problems for those that are none."""
    found: dict[str, float] = {}
    for layer in layers:
        resources = layer.values.get(_RESOURCES)
        if not isinstance(resources, Mapping):
            continue
        found = {}
        said = resources.get(LABELS, {})
        path = (*layer.path, _RESOURCES, LABELS)
        if not isinstance(said, Mapping):
            _add(problems, layer.document.problem(path, "'labels' must be a mapping", "such as 'labels: {a100: 1}'"))
            continue
        for name, amount in said.items():
            if not isinstance(name, str) or not re.fullmatch(LABEL, name):
                wrong = f"'{shortened(str(name))}' is no name of a label", "use small letters, digits, - and _"
            elif isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < math.inf:
                wrong = (
                    f"'{name}' must be a number above 0, not {shortened(str(amount))}",
                    "say how much of it is needed",
                )
            else:
                found[name] = float(amount)
                continue
            _add(problems, layer.document.problem((*path, name), *wrong))
    return found


def _add(problems: list[Problem], problem: Problem) -> None:
    if problem not in problems:
        problems.append(problem)
