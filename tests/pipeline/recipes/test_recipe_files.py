"""A mistake in a file is that file's alone, whatever the file holds, and whatever it is."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recast.pipeline.cli.main import main
from recast.pipeline.core.errors import RecastError
from recast.pipeline.dvc.remembered import stamp
from recast.pipeline.execution.events import State
from recast.pipeline.execution.stage_runner import sources_stamp
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.partial_plan import make_sound_plan
from recast.pipeline.recipes.document import MOST_BYTES, read_document
from tests.lib import drive
from tests.lib.repository import parsed_lock

SECRET = "token: [s3cret, 1, 2\n"


def socket_at(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have few letters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def link_out(path: Path) -> None:
    outside = path.parents[2].parent / f"{path.parents[2].name}-outside.yaml"
    outside.write_text(SECRET)
    path.symlink_to(outside)


KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, "is a FIFO, not a file of text"),
    "a socket": (socket_at, "is a socket, not a file of text"),
    "a folder": (Path.mkdir, "is a folder, not a file of text"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "is a link that leads to itself"),
    "a link to nothing": (lambda path: path.symlink_to("nothing"), "is a link to nothing"),
    "a link out": (link_out, "is a link that leads outside the repository"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "is a link that leads outside the repository"),
    "a link to a folder above": (lambda path: path.symlink_to(".."), "is a folder, not a file of text"),
    "too large": (lambda path: path.write_text("a: " + "x" * MOST_BYTES), "too large for a recipe"),
    "not UTF-8": (lambda path: path.write_bytes(b"a: \xff\n"), "is not UTF-8 text (byte 3)"),
    "UTF-16": (lambda path: path.write_text("a: 1\n", encoding="utf-16"), "is not UTF-8 text (byte 0)"),
    "binary": (lambda path: path.write_bytes(bytes(range(128))), "it holds a character that is no text"),
}


def lay(write: Callable[[dict[str, str]], Path], folder: str, make: Callable[[Path], object]) -> Path:
    place = write({})
    make(place / folder / "k.yaml")
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_of_any_kind_is_one_clear_error(kind, write, monkeypatch, capsys):
    make, message = KINDS[kind]
    place = lay(write, "recipes", make)
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as exit:
        main(["check"])
    said = capsys.readouterr().err
    assert exit.value.code == 2
    assert "recipes/k.yaml:1:" in said and message in said and "1 problem, nothing was run" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_the_others_are_planned_and_looked_at(kind, write):
    place = lay(write, "recipes", KINDS[kind][0])
    plan = make_sound_plan(place, ["base"])
    assert "base" in plan.recipes and plan.broken == ("k",)
    assert "s3cret" not in "".join(str(problem) for problem in plan.problems)
    # what a run notes of the sources, which must neither wait nor walk in circles
    assert sources_stamp(place) and stamp(place / "recipes") != "absent"


@pytest.mark.parametrize("kind", KINDS)
def test_a_target_of_any_kind_concerns_those_who_have_it(kind, write):
    make, message = KINDS[kind]
    place = lay(write, "recipes/targets", make)
    make_plan(place, ["base"])
    recipe = (place / "recipes/base.yaml").read_text()
    (place / "recipes/other.yaml").write_text(recipe.replace("akida: {}", "k: {}"))
    with pytest.raises(RecastError, match=r"recipes/targets/k\.yaml:1:") as caught:
        make_plan(place, ["other"])
    assert message in str(caught.value)
    make_plan(place, ["base"])


@pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind not in ("a folder", "a socket", "a link to itself", "a link to a folder above")],
)
def test_defaults_of_any_kind(kind, write):
    make, message = KINDS[kind]
    place = write({})
    (place / "params.yaml").unlink()
    make(place / "recipes/k.yaml")
    (place / "recipes/k.yaml").rename(place / "params.yaml")
    with pytest.raises(RecastError, match=r"params\.yaml:1:") as caught:
        make_plan(place)
    assert message in str(caught.value) or kind == "a link to nothing"


@pytest.mark.parametrize(
    "name", [b"w\xff.yaml", b"a\x1b[31m.yaml", b"a\nb.yaml", b"x" * 200 + b".yaml", b".yaml", b"-.yaml"]
)
def test_names_of_files_that_can_be_no_recipes(name, write, monkeypatch, capsys):
    place = write({})
    (place / "recipes" / os.fsdecode(name)).write_bytes(b"a: 1\n")
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as exit:
        main(["check"])
    said = capsys.readouterr()
    if name == b".yaml":  # hidden: an editor's own file
        assert exit.value.code == 0
    else:
        assert exit.value.code == 2 and "is no plain name for a recipe" in said.err
    assert "\x1b" not in said.err and "\udcff" not in said.err
    make_sound_plan(place, ["base"])
    assert stamp(place / "recipes")
    with pytest.raises(SystemExit) as exit:
        main(["check", "base"])
    assert exit.value.code == 0


@pytest.mark.parametrize("kind", ["a FIFO", "a link to itself", "a link to nothing", "a link to a device", "a socket"])
def test_dvc_is_not_held_up_by_a_recipe_that_is_no_file(kind, write):
    """The guard depends on the folder of the recipes, and DVC hashes all that is in a folder."""
    place = lay(write, "recipes", KINDS[kind][0])
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=place, check=True)
    (place / "dvc.yaml").write_text("stages:\n  guard: {cmd: echo > out, deps: [recipes], outs: [out]}\n")
    # what is no file would be opened to be hashed
    assert drive.run(place).named(State.DONE) == {"guard"}
    (dep,) = parsed_lock(place)["stages"]["guard"]["deps"]
    files = [place / "recipes" / name for name in ("base.yaml", "targets/akida.yaml", "targets/onnxruntime.yaml")]
    assert (dep["nfiles"], dep["size"]) == (len(files), sum(path.stat().st_size for path in files))


SCALARS = (
    *("!!bool maybe", "!!bool yes", '!!int ""', "!!int x", "!!float x", "!!null x", "!!binary '!'", "!!binary aGk="),
    *("!!timestamp x", "!!timestamp 2020-01-01", "!!str 3", "!x 3", "!!python/object:os.system x", "! x", "!<!> x"),
    *("012", "1_000", "0o7", "0b1", "0x1F", "1e400", "-1e400", ".inf", ".nan", "9" * 4000, "9" * 5000, "1:30", "~"),
    *(
        '"\\0"',
        '"\\e[31m"',
        '"\\ud800"',
        '"\\udfff"',
        '"\\U0010ffff"',
        "\u2028",
        "x" * 5000,
        "*a",
        "&a 1",
        "<<",
        "@",
        "`",
    ),
    *(
        "{",
        "}",
        "[",
        "]",
        "{}",
        "[]",
        "{a: b}",
        "!!set {a}",
        "!!omap [a: 1]",
        "? a",
        "- a",
        "|",
        ">",
        "%",
        "'",
        '"',
        "#",
    ),
)
KEYS = (
    "model",
    "extends",
    "isolated",
    "stages",
    "targets",
    "uses",
    "data",
    "train",
    "akida",
    "emit",
    "epochs",
    "x",
    "1",
)


def generated(random: random.Random, depth: int = 0) -> str:
    if depth > 3 or random.random() < 0.4:
        return random.choice(SCALARS)
    if random.random() < 0.2:
        return f"[{', '.join(generated(random, depth + 1) for _ in range(random.randrange(3)))}]"
    keys = (random.choice((*KEYS, *SCALARS)) if random.random() < 0.1 else random.choice(KEYS) for _ in range(3))
    return f"{{{', '.join(f'{key}: {generated(random, depth + 1)}' for key in keys)}}}"


def test_random_files_are_refused_or_sound_and_nothing_else(write):
    """120 recipes, targets and defaults of odd values; the seed is fixed."""
    chance = random.Random(0)
    place = write({})
    refused = 0
    for number in range(120):
        text = "\n".join(f"{chance.choice(KEYS)}: {generated(chance)}" for _ in range(1 + number % 4))
        name = ("recipes/r.yaml", "recipes/targets/t.yaml", "params.yaml")[number % 3]
        kept = (place / name).read_text() if (place / name).exists() else None
        (place / name).write_text(text, encoding="utf-8")
        try:
            make_plan(place)
        except RecastError as error:
            refused += 1
            assert str(error).isprintable() or "\n" in str(error)
            assert len(str(error)) < 5000
        if kept is not None:
            (place / name).write_text(kept)
        elif name.startswith("recipes/r"):
            (place / name).unlink()
    assert refused > 40


def test_bytes_at_random_are_refused_or_read(tmp_path):
    chance = random.Random(1)
    sound = b"model: models.net:Net\nstages:\n  data: {dataset: digits}\ntargets:\n  akida: {}\n"
    for _ in range(300):
        text = bytearray(sound)
        for _ in range(chance.randrange(1, 6)):
            text[chance.randrange(len(text))] = chance.choice(b"\x00\x07\t\n\r :{}[]&*!|>'\"%@`,#-?\x7f\x80\xff") % 256
        (tmp_path / "r.yaml").write_bytes(text)
        problems = []
        assert (read_document(tmp_path, "r.yaml", problems) is None) == bool(problems)
