"""What `recast explain` says of a stage, as data, text and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from recast.pipeline.core.listed import listed
from recast.pipeline.dvc.cpu_kind import beside
from recast.pipeline.dvc.differences import ABSENT

Kind = Literal[
    "never run",  # no entry in dvc.lock
    "always",  # DVC is told to run it each time
    "command",
    "param",
    "model",  # code of the model
    "code",  # code of the stage
    "environment",  # the pins
    "device",
    "data",  # a file or folder that a param names
    "file",  # any other dependency
    "input",  # an output of another stage that is final, and different
    "output",  # its own, missing or edited
    "cache",  # files that the cache lacks
    "damaged",  # files of the cache that are not what their names say
    "upstream",  # a stage that runs first
]


class Verdict(StrEnum):
    """What a run would do with a stage."""

    UP_TO_DATE = "up to date"
    RESTORED = "would be restored"
    RUN = "would run"
    FOLLOWS = "follows"
    """nothing of its own has changed, but a stage before it runs; if its output stays the same, this does not run"""


@dataclass(frozen=True)
class Reason:
    """One thing that is not as dvc.lock records it."""

    kind: Kind
    subject: str
    """what it is about: a dotted key, a path, or a stage"""
    text: str
    before: Any = ABSENT
    """of params, the command and the device: the value"""
    after: Any = ABSENT


@dataclass(frozen=True)
class Explanation:
    """What a run would do with one stage, and why, the user's own edits first.

    A stage that is up to date has reasons only where DVC overlooks a change, or a run puts the cache right.
    """

    stage: str
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    compared: str = ""
    """what was compared, in words"""
    cpu: str = ""
    """the kind of CPU that its last result, or the one that would be restored, was measured on, where it records one"""


def counted(number: int, what: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def as_text(explanations: Sequence[Explanation], cpu: str = "") -> str:
    """What would happen and why, in running order; what is up to date comes last. `cpu`: the kind of this machine."""
    shown = {one.stage for one in explanations}
    lines: list[str] = []
    for one in explanations:
        if one.verdict is Verdict.FOLLOWS and all(reason.subject in shown for reason in one.reasons):
            lines.append(f"{one.stage} follows {listed([reason.subject for reason in one.reasons])}")
        elif one.verdict is not Verdict.UP_TO_DATE:
            lines.append(f"{one.stage} {_SAID[one.verdict]}")
            lines += [f"    {text}" for text in _texts(one.reasons, shown)]
        if one.cpu and one.verdict is not Verdict.UP_TO_DATE:
            what = "what would be restored was" if one.verdict is Verdict.RESTORED else "its last result was"
            lines.append(f"    {what} {beside(one.cpu, cpu)}")
    if any(one.verdict is Verdict.FOLLOWS for one in explanations):
        lines += ["(a stage that follows runs only if what it reads comes out different)"]
    for one in explanations:
        if one.verdict is Verdict.UP_TO_DATE:
            compared = f" with {one.compared}" if one.compared else ""
            lines.append(f"{one.stage} is up to date{compared}")
            if one.cpu:
                lines.append(f"    {beside(one.cpu, cpu)}")
            lines += [f"    {reason.text}" for reason in one.reasons if reason.kind == "damaged"]
            if gone := [reason.text for reason in one.reasons if reason.kind != "damaged"]:
                lines.append("    but DVC overlooks what is gone altogether; 'recast run --force' would not:")
                lines += [f"    {text}" for text in gone]
    return "\n".join(lines)


def _texts(reasons: Sequence[Reason], shown: set[str]) -> list[str]:
    """Every reason in a line; several stages that run first, and are shown themselves, in one."""
    waits = [reason.subject for reason in reasons if reason.kind == "upstream" and reason.subject in shown]
    if len(waits) < 2:
        return [reason.text for reason in reasons]
    others = [reason.text for reason in reasons if not (reason.kind == "upstream" and reason.subject in shown)]
    return [*others, f"depends on {listed(waits)}, which run first"]


_SAID = {
    Verdict.RUN: "would run",
    Verdict.RESTORED: "would be restored from the cache, not run",
    Verdict.FOLLOWS: "follows",
}


def as_json(explanations: Sequence[Explanation], cpu: str = "") -> str:
    """Everything known of each stage; `before`, `after` and `cpu` are left out where there is no such value."""
    return json.dumps([_plain(one, cpu) for one in explanations], indent=2, ensure_ascii=False, default=str)


def _plain(one: Explanation, cpu: str) -> dict[str, Any]:
    reasons = []
    for reason in one.reasons:
        values = {"before": reason.before, "after": reason.after}
        known = {name: value for name, value in values.items() if value is not ABSENT}
        reasons.append({"kind": reason.kind, "subject": reason.subject, "text": reason.text, **known})
    kinds = {"cpu": {"measured_on": one.cpu, "this_machine": cpu or None}} if one.cpu else {}
    return {"stage": one.stage, "verdict": str(one.verdict), "reasons": reasons, "compared": one.compared, **kinds}
