"""Recipes that somebody mutated at random, planned in this process: a plan, or problems of ours, soon; and no file."""

from __future__ import annotations

import random
import string
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.make_plan import make_plan
from tests.lib.repeated import times
from tests.lib.repository import ROOT, lay_sound
from tests.lib.tally import Tally

SOURCES = sorted((ROOT / "recipes").glob("*.yaml"))
SETS = sorted((ROOT / "recipes/targets").glob("*.yaml"))
HANG_S = 5.0
"""for one, with what else the machine does"""
NASTY = (
    "null", "~", "true", "yes", "0", "-1", "1e999", "-0.0", ".nan", "9" * 400, "0x10", "2026-01-01", '""', "[]", "{}",
    "[[[[[[]]]]]]", "&a [*a]", "*b", "!!python/object:os.system x", "!!binary aGk=", "<<: {a: 1}", "../../etc/passwd",
    "/dev/zero", "~root", "a\\0b", '"\\ud800"', '"\\x00"', "\u202e", "é" * 50, "x" * 5000, "|\n  a\n  b", "? [a]\n: b",
    "models.digits_cnn:DigitsCnn", "os:system", "builtins:eval", "__import__('os')", "torch.nn:Linear", "a:b:c", "- ",
    "{dataset: npz, path: ../x}", "{name: 'os:system', args: {a: [1]}}", "!!set {a, b}", "%YAML 9.9", "---\n---", "\t",
)  # fmt: skip


def cut(text: str, choose: random.Random) -> str:
    begin = choose.randrange(len(text) + 1)
    return text[:begin] + text[begin + choose.randrange(20) :]


def insert(text: str, choose: random.Random) -> str:
    at = choose.randrange(len(text) + 1)
    return text[:at] + choose.choice(NASTY) + text[at:]


def scribble(text: str, choose: random.Random) -> str:
    at = choose.randrange(len(text) + 1)
    return text[:at] + choose.choice(string.printable + "\x00\x1b\u2028\ufeff") + text[at + 1 :]


def another_value(text: str, choose: random.Random) -> str:
    lines = text.splitlines()
    at = choose.choice([number for number, line in enumerate(lines) if ":" in line] or [0])
    lines[at] = f"{lines[at].partition(':')[0]}: {choose.choice(NASTY)}" if lines else choose.choice(NASTY)
    return "\n".join(lines) + "\n"


def another_inner_value(text: str, choose: random.Random) -> str:
    parts = text.split(", ")
    at = choose.randrange(len(parts))
    parts[at] = f"{parts[at].rpartition(': ')[0]}: {choose.choice(NASTY)}"
    return ", ".join(parts)


def move_a_line(text: str, choose: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    line = lines.pop(choose.randrange(len(lines)))
    lines.insert(choose.randrange(len(lines) + 1), " " * choose.randrange(5) + line)
    return "".join(lines)


def twice(text: str, choose: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    lines.insert(choose.randrange(len(lines) + 1), choose.choice(lines))
    return "".join(lines)


def join_another(text: str, choose: random.Random) -> str:
    other = choose.choice(SOURCES + SETS).read_text(encoding="utf-8")
    return text[: choose.randrange(len(text) + 1)] + other[choose.randrange(len(other) + 1) :]


MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    cut,
    insert,
    scribble,
    another_value,
    another_inner_value,
    move_a_line,
    twice,
    join_another,
)


@pytest.mark.parametrize("count", [15, pytest.param(times(2000), marks=pytest.mark.slow)])
@pytest.mark.fault("recipe or stage set mutated at random, planned: no exception but ours, no hang, no file elsewhere")
def test_a_mutated_recipe_is_planned_or_refused(tmp_path: Path, tally: Tally, count: int) -> None:
    assert len(SOURCES) > 5 and len(SETS) > 5
    opened: list[str] = []
    root = lay(tmp_path / "project")
    watched = {"on": True}
    sys.addaudithook(
        lambda event, given: opened.append(str(given[0])) if watched["on"] and writes(event, given) else None
    )
    planned = 0
    try:
        for seed in range(count):
            planned += one(root, random.Random(seed), seed, opened, tally)
    finally:
        watched["on"] = False  # a hook stays for ever
    assert not tally.losses, tally.losses[:5]
    # neither is all refused before it is looked at, nor nothing
    assert 0 < planned < count


def one(root: Path, choose: random.Random, seed: int, opened: list[str], tally: Tally) -> bool:
    """Plan one; whether that could be done."""
    is_set = choose.random() < 0.25
    source = choose.choice(SETS if is_set else SOURCES)
    text = source.read_text(encoding="utf-8")
    for _ in range(choose.randint(1, 3)):
        text = choose.choice(MUTATIONS)(text, choose)
    place = root / "recipes" / ("targets" if is_set else "") / source.name
    before = place.read_bytes()
    place.write_bytes(text.encode("utf-8", "surrogatepass"))
    del opened[:]

    def plan() -> None:
        try:
            make_plan(root, [first_with(source.stem) if is_set else source.stem])
        finally:
            elsewhere = [path for path in opened if not path.endswith(".pyc") and "__pycache__" not in path]
            assert not elsewhere, f"wrote {elsewhere[:3]}"

    refused = tally.refused_or_done(str(seed), plan, RecastError, HANG_S)
    place.write_bytes(before)
    return not refused


@cache
def first_with(target: str) -> str:
    """A recipe that names the target."""
    return next(path.stem for path in SOURCES if f"\n  {target}:" in path.read_text(encoding="utf-8"))


def writes(event: str, given: tuple[object, ...]) -> bool:
    if event == "open" and len(given) == 3 and isinstance(given[1], str):
        return any(mode in given[1] for mode in "wax+")
    return event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link", "subprocess.Popen", "os.system")


def lay(place: Path) -> Path:
    place.mkdir()
    lay_sound(place, {"recipes/base.yaml": None, "params.yaml": (ROOT / "params.yaml").read_text(encoding="utf-8")})
    for folder in ("recipes", "recipes/targets", "models"):
        for path in (ROOT / folder).iterdir():
            if path.suffix in (".yaml", ".py"):
                (place / folder / path.name).write_bytes(path.read_bytes())
    for path in SOURCES:
        for name in named_files(path):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).touch()
    return place


def named_files(recipe: Path) -> list[str]:
    """What a recipe names of the repository and tests have no need of."""
    words = recipe.read_text(encoding="utf-8").replace(",", " ").replace("}", " ").split()
    return [word for word in words if "/" in word and (ROOT / word).is_file()]
