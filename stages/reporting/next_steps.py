"""What a reader of the page can do next, and why: from the state, the limits and the agreement of each target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """A sentence, and the commands that it is about."""

    why: str
    commands: tuple[str, ...] = ()


def steps(recipe: Mapping[str, Any]) -> Iterator[Step]:
    """Of a recipe's facts: first what fails, then what is to be run, then what can be done with what is sound."""
    name, targets = recipe["name"], recipe["targets"]
    failed = {stage["id"] for stage in recipe["stages"] if stage["state"] == "failed"}
    for target in targets:
        if target["verifies"] in failed:
            what = f"{name}/{target['name']}"
            yield Step(
                f"{target['name']} failed where it is tested. One command shows which layer loses, and at which "
                "conversion; the other searches for settings by which it meets its limits.",
                (f"recast blame {what}", f"recast repair {what}"),
            )
        elif target["state"] == "failed":
            yield Step(
                f"{target['name']} failed before it was tested; mend the reason that its card gives, and run it.",
                (f"recast run {name} --target {target['name']}",),
            )
    waiting = [target["name"] for target in targets if target["state"] in ("stale", "not run", "in the cache")]
    if waiting:
        yield Step(f"{_listed(waiting)}: not of what the recipe says now. Run it.", (f"recast run {name}",))
    unknown = [target["name"] for target in targets if target["state"] == "not looked at"]
    if unknown:
        yield Step(
            f"{_listed(unknown)}: whether this is of what the recipe says now was not looked at; write the page anew.",
            (f"recast report {name}",),
        )
    sound = [target for target in targets if target["verified"]]
    yield from _of_what_is_sound(name, sound)


def _of_what_is_sound(recipe: str, sound: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    if not sound:
        return
    first = sound[0]["name"]
    yield Step(
        f"{_listed([target['name'] for target in sound])} met every limit. To hand one on, put all that others need of "
        "it into one archive.",
        (f"recast release {recipe}/{first} -o {recipe}-{first}.tar",),
    )
    compared = [target for target in sound if "agreement" in target["metrics"]]
    same = [target["name"] for target in compared if target["metrics"]["agreement"] == 1]
    if same:
        yield Step(
            f"{_listed(same)} chose as the float model does for each test sample: the mistakes are the float model's. "
            "What can be gained is in data and training, and nothing in quantization."
        )
    for target in compared:
        if target["name"] not in same:
            yield Step(
                f"{target['name']} chose otherwise than the float model for "
                f"{100 * (1 - target['metrics']['agreement']):.2f}\u00a0% of the test samples: that is what conversion "
                "costs. Which layer it comes from is told by one command.",
                (f"recast blame {recipe}/{target['name']}",),
            )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
