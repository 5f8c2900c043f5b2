"""What a target's models may take and give, and what a recipe tells of its model's inputs and outputs before it runs.

Imports nothing but the standard library: a plan is made with it. What no recipe tells, as of an ONNX file, is refused
by the target's first stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["input", "output"]


@dataclass(frozen=True)
class Limits:
    """What a target's models may have at most; None for any number."""

    inputs: int | None = None
    outputs: int | None = None
    because: str = ""
    """why not more, as a clause: `a circuit has one tensor of each`"""


@dataclass(frozen=True)
class Told:
    """Names of inputs or outputs, by the param that holds them."""

    stage: str
    param: str
    kind: Kind
    names: tuple[str, ...]


_TELLS: tuple[tuple[str, str, Kind], ...] = (
    ("data", "inputs", "input"),
    ("inputs", "bounds", "input"),
    ("export", "input_names", "input"),
    ("export", "output_names", "output"),
)
"""trunk stage, its param that holds names, and of what"""


def told(params: Mapping[str, Mapping[str, Any]]) -> Iterator[Told]:
    """What the params of a recipe's trunk stages, by stage, tell of its model."""
    for stage, param, kind in _TELLS:
        names = tuple(params.get(stage, {}).get(param) or ())
        if names:
            yield Told(stage, param, kind, names)


def refusal(
    target: str, limits: Limits, others: Mapping[str, Limits], params: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str] | None:
    """Why the target cannot hold the model that these params tell of, and what to do; None if they tell of no reason.

    `others`: limits of all targets, of which those are named that could hold it.
    """
    for one in told(params):
        most = getattr(limits, f"{one.kind}s")
        if most is None or len(one.names) <= most:
            continue
        able = [name for name, other in others.items() if _holds(getattr(other, f"{one.kind}s"), len(one.names))]
        counted = f"{most} {one.kind}{'s' if most > 1 else ''}"
        return (
            f"the target {target} holds models with {counted}, and {one.stage}.{one.param} names {len(one.names)} "
            f"({', '.join(one.names)}): {limits.because}",
            f"drop the target; {', '.join(able)} can hold it",
        )
    return None


def _holds(most: int | None, count: int) -> bool:
    return most is None or count <= most
