"""What makes a remembered "up to date" void."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pipeline.up_to_date import FOLDER, Memory, recall, remember, sources
from tests.pipeline.conftest import ROOT

MEMORY = Memory(("r/train", "r/emit"), (["r", [["akida", "99 %"]]],))
REQUEST = {"recipes": ["r"], "target": None}


@pytest.fixture
def place(tmp_path):
    """A place in which everything was found up to date."""
    for name in ("recipes/r.yaml", "pipeline/cli.py", "params.yaml", "out/deep/a.bin", "cache/ab/cd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    evidence = sources(tmp_path)
    evidence.add(tmp_path, ["out", "dvc.lock"], folders=["."], objects=["cache/ab/cd"])
    (tmp_path / ".recast").mkdir()
    evidence.folders["."] = str(tmp_path.stat().st_mtime_ns)
    remember(tmp_path, REQUEST, evidence, MEMORY)
    return tmp_path


def test_it_is_recalled_as_it_was_and_for_that_request_only(place):
    assert recall(place, REQUEST) == MEMORY
    assert recall(place, {**REQUEST, "target": "akida"}) is None


def touch_again(path):
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def write_as_if_not(path):
    stat = path.stat()
    with path.open("r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


CHANGES = {
    "a recipe edited": lambda place: (place / "recipes/r.yaml").write_text("other"),
    "a recipe added": lambda place: (place / "recipes/s.yaml").touch(),
    "Recast's own code edited": lambda place: (place / "pipeline/cli.py").write_text("other"),
    "an output edited, with its size kept": lambda place: touch_again(place / "out/deep/a.bin"),
    "a file added to an output": lambda place: (place / "out/deep/b.bin").touch(),
    "a file of an output deleted": lambda place: (place / "out/deep/a.bin").unlink(),
    "an output written to, with its size and times kept": lambda place: write_as_if_not(place / "out/deep/a.bin"),
    "a cached object written to, with its size and times kept": lambda place: write_as_if_not(place / "cache/ab/cd"),
    "a cached object deleted": lambda place: (place / "cache/ab/cd").unlink(),
    "what was absent appears": lambda place: (place / "dvc.lock").touch(),
    "a file appears where a dvc.yaml could": lambda place: (place / "dvc.yaml").touch(),
    "the memory itself damaged": lambda place: [p.write_text("{") for p in (place / FOLDER).glob("*.json")],
    "the memory of another format": lambda place: [p.write_text("[1]") for p in (place / FOLDER).glob("*.json")],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_anything_that_changed_makes_it_void(place, change):
    change(place)
    assert recall(place, REQUEST) is None


def test_bytecode_that_python_writes_is_no_change(place):
    (place / "pipeline/__pycache__").mkdir()
    (place / "pipeline/__pycache__/cli.pyc").touch()
    evidence = sources(place)
    (place / "pipeline/__pycache__/other.pyc").touch()
    assert evidence.holds(place)


def test_a_copied_repository_is_looked_at_anew(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("copy") / "copy"
    subprocess.run(["cp", "-a", str(place), str(elsewhere)], check=True)
    assert recall(elsewhere, REQUEST) is None


def test_asking_imports_neither_dvc_nor_pydantic():
    program = "import sys, json; import pipeline.cli; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "pipeline" in loaded and not loaded & {"dvc", "pydantic", "ruamel", "networkx"}
