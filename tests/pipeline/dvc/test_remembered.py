"""What makes a remembered "up to date" void."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from recast.pipeline.dvc.remembered import FOLDER, Memory, recall, remember, sources
from tests.lib.repository import ROOT

MEMORY = Memory(("r/train", "r/emit"), (["r", [["akida", "99 %"]]],))
REQUEST = {"recipes": ["r"], "target": None}


@pytest.fixture
def place(tmp_path):
    """A place in which everything was found up to date."""
    for name in ("recipes/r.yaml", "pipeline/cli/main.py", "params.yaml", "out/deep/a.bin", "cache/ab/cd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    evidence = sources(tmp_path)
    evidence.add(tmp_path, ["out", "dvc.lock"], folders=["."], objects=["cache/ab/cd"])
    (tmp_path / ".recast").mkdir()
    evidence.folders["."] = str(tmp_path.stat().st_mtime_ns)
    remember(tmp_path, REQUEST, evidence, MEMORY)
    return tmp_path


def test_it_is_recalled_as_it_was_and_for_that_request_only(place):
    recalled = recall(place, REQUEST)
    assert recalled and recalled.memory == MEMORY and recalled.is_current
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
    "Recast's own code edited": lambda place: (place / "pipeline/cli/main.py").write_text("other"),
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
    recalled = recall(place, REQUEST)
    assert recalled is None or not recalled.is_current


@pytest.mark.parametrize("name", ["notes.txt", "notes/today.txt", "link"])
def test_what_dvc_does_not_look_for_is_no_change(place, name):
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).symlink_to("nowhere") if name == "link" else (place / name).touch()
    recalled = recall(place, REQUEST)
    assert recalled and recalled.is_current


@pytest.mark.parametrize("name", ["dvc.yaml", "data.dvc", ".dvcignore", "new/deep/dvc.yaml", "new/x.dvc"])
def test_what_may_describe_other_stages_makes_all_of_it_void(place, name):
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).touch()
    recalled = recall(place, REQUEST)
    # two of these are looked at by themselves
    assert recalled is None or recalled.changed == {name}


def test_what_was_not_all_up_to_date_is_not_current(place):
    evidence = sources(place)
    remember(place, REQUEST, evidence, replace(MEMORY, is_complete=False))
    recalled = recall(place, REQUEST)
    assert recalled and not recalled.changed and not recalled.is_current


def test_bytecode_that_python_writes_is_no_change(place):
    (place / "pipeline/__pycache__").mkdir()
    (place / "pipeline/__pycache__/cli.pyc").touch()
    evidence = sources(place)
    (place / "pipeline/__pycache__/other.pyc").touch()
    assert evidence.changed(place) == set()


def test_a_copied_repository_is_looked_at_anew(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("copy") / "copy"
    subprocess.run(["cp", "-a", str(place), str(elsewhere)], check=True)
    assert recall(elsewhere, REQUEST) is None


def test_asking_imports_neither_dvc_nor_pydantic():
    program = "import sys, json; import recast.pipeline.cli.main; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "recast" in loaded and not loaded & {"dvc", "pydantic", "ruamel", "networkx"}


def test_a_first_stage_is_started_without_dvc_and_pydantic():
    program = "import sys, json; import recast.pipeline.cli.main, recast.pipeline.execution.start;"
    program += " print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "recast.pipeline.execution.head_start" in json.loads(done.stdout) and not loaded & {
        "dvc",
        "pydantic",
        "ruamel",
        "networkx",
    }
