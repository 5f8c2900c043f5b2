"""The tutorials' commands, as they are typed, on their own recipes; data and weights are small stand-ins.

Two things of the copied project are others than here, both because the data is: the hashes by which the original files
are known, and `min_accuracy`, which is 0.5 of ten classes, since there is so little to learn from.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.processes import environments
from tests.lib.repository import ROOT, call, commit, copy_repository
from tests.pipeline.test_pages import TUTORIALS
from tests.pipeline.test_typed_commands import typed

pytestmark = pytest.mark.slow

RECIPES = [recipe for recipes in TUTORIALS.values() for recipe in recipes]
HASHED = ("stages/trunk/sources/torchvision_files.py", "stages/trunk/data.py", "recipes/cifar_wasm.yaml")
SEVEN = """\
import sys, numpy
from PIL import Image
test = numpy.load(sys.argv[1])
Image.fromarray(test["x"][list(test["y"]).index(7), 0]).save(sys.argv[2])
"""


class Project:
    """A copy of this repository with a data root of stand-ins."""

    def __init__(self, place: Path) -> None:
        self.place, self.data = place / "a clone", place / "data"
        self.place.mkdir()
        copy_repository(self.place)
        made = self.python("-m", "tests.lib.stand_ins", self.data)
        stated: dict[str, str] = json.loads(made.stdout)
        for name in HASHED:
            self.edit(name, "|".join(stated), lambda found: stated.pop(found[0]))
        assert not stated
        for recipe in (self.place / "recipes").glob("*.yaml"):
            self.edit(f"recipes/{recipe.name}", r"(?<=min_accuracy: )[\d.]+", lambda found: "0.5")
        # the one takes minutes with any data, the other's commands are run by test_typed_commands
        for recipe in ("lenet_ezkl", "digits"):
            (self.place / f"recipes/{recipe}.yaml").unlink()
        self.type("recast", "sync")
        commit(self.place, "stand-ins")

    def edit(self, name: str, pattern: str, other: Any) -> None:
        file = self.place / name
        file.write_text(re.sub(pattern, other, file.read_text(encoding="utf-8")), encoding="utf-8")

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Python of the environment `torch`."""
        python = environments.ensure(ROOT, "torch", print).python
        variables = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        return subprocess.run([python, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, check=True)

    def type(self, program: str, *words: str) -> str:
        assert program == "recast"
        return call(self.place, "./recast", *words, RECAST_DATA_ROOT=str(self.data)).stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("tutorials"))


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_works_as_it_is_typed(project: Project, name: str) -> None:
    """And what the page on its target adds."""
    pages = [f"docs/tutorials/{name}.md", *(["docs/targets/ezkl.md"] if name == "ezkl_proof" else [])]
    commands = {one.words: None for page in pages for one in typed(ROOT / page)}
    assert commands
    for command in commands:
        if "seven.png" in command:
            recipe = command[2].partition("/")[0]
            project.python(
                "-c", SEVEN, project.place / f"artifacts/{recipe}/data/test.npz", project.place / "seven.png"
            )
        said = project.type(*command)
        if command[1] == "run":
            shows_what_came_out(project, said, command[2])
        elif command[1] == "check-proof":
            assert "the proof holds: class 7 - seven" in said


def shows_what_came_out(project: Project, said: str, recipe: str) -> None:
    assert f"{recipe}: what came out" in said
    for target in make_plan(project.place, [recipe]).recipes[recipe].targets:
        assert re.search(rf"^ {target} .* %  .*  artifacts/{recipe}/{target}/emit/", said, re.M), (recipe, target)


def test_every_recipe_is_run_by_one_command(project: Project) -> None:
    """After the tests above there is nothing left to do."""
    (command,) = (one.words for one in typed(ROOT / "docs/running.md") if len(one.words) == 2)
    said = project.type(*command)
    for recipe in RECIPES:
        shows_what_came_out(project, said, recipe)
