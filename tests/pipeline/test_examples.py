"""The examples are sound, run in a project that a wheel made, and reach what their pages say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.processes import environments
from tests.lib.repository import ROOT, git
from tests.pipeline.test_wheel import call

EXAMPLES = ROOT / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/recipes"))
RECIPES = {path.stem: path for folder in FOLDERS for path in sorted((folder / "recipes").glob("*.yaml"))}
ON_MADE_UP_DATA = tuple(name for name in RECIPES if name.startswith("mlperf_"))
ROW = re.compile(r"^\| (\w+) \| ([\d.]+)( %)? \| ([\d.]+)(?: %)? \| ([\d.]+) % \| ([\d.]+) kB \|$", re.M)


def copy_examples(project: Path) -> None:
    for folder in FOLDERS:
        for name in ("models", "recipes", "samples"):
            if (folder / name).is_dir():
                shutil.copytree(folder / name, project / name, dirs_exist_ok=True)


def test_every_example_is_sound_and_has_its_page(tmp_path: Path) -> None:
    assert len(RECIPES) == 11
    copy_examples(tmp_path)
    (tmp_path / "params.yaml").write_text("data_root: downloads\n")
    plan = make_plan(tmp_path, list(RECIPES))
    assert {name.partition("/")[0] for name in plan.stages} >= set(RECIPES)
    index = (EXAMPLES / "README.md").read_text()
    for name, path in RECIPES.items():
        page = (path.parents[1] / "README.md").read_text()
        assert f"({path.parents[1].name}/README.md)" in index and f"`{name}`" in index
        assert f"recipes/{name}.yaml" in page or name in ON_MADE_UP_DATA
        assert name in page


def test_modules_of_examples_do_not_hide_each_other() -> None:
    names = [path.relative_to(folder) for folder in FOLDERS for path in folder.rglob("*.py")]
    assert len(names) == len(set(names)) > len(FOLDERS)


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one's own in which every example has run; those of MLPerf Tiny on data made up, and quickly."""
    place = tmp_path_factory.mktemp("examples")
    git(place, "init", "--quiet")
    path = {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}"}
    recast = installed / "bin/recast"
    call(place, path, recast, "init", "--yes")
    copy_examples(place)
    # what the data is written with is in the stages' environment
    python = environments.ensure(ROOT, "torch", print).python
    code = (
        "import sys, pathlib; from tests.lib import mlperf_tiny as made; place = pathlib.Path(sys.argv[1]); "
        "[of(place / 'downloads') for of in (made.speech, made.people, made.machines)]; "
        "(place / 'samples/colours.py').write_text(made.COLOURS); "
        "[(place / f'recipes/quick_{name}.yaml').write_text(f'extends: {name}\\nstages: {text}\\n')"
        " for name, text in made.QUICK.items()]"
    )
    subprocess.run([python, "-c", code, place], cwd=ROOT, check=True)
    wanted = [name for name in RECIPES if name not in ON_MADE_UP_DATA]
    call(place, path, recast, "run", *wanted, *(f"quick_{name}" for name in ON_MADE_UP_DATA), "--jobs", "2")
    return place


def summary(project: Path, recipe: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "artifacts" / recipe / "summary.json").read_text())
    return found["targets"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_an_example_runs_to_all_its_targets(project: Path, recipe: str) -> None:
    ran = summary(project, f"quick_{recipe}" if recipe in ON_MADE_UP_DATA else recipe)
    said = YAML(typ="safe").load(RECIPES[recipe].read_text())["targets"]
    assert list(ran) == sorted(said) and len(said) >= (1 if recipe == "same_digit" else 2)
    if recipe in ON_MADE_UP_DATA:
        return
    page = (RECIPES[recipe].parents[1] / "README.md").read_text()
    rows = {row[0]: row[1:] for row in ROW.findall(page)}
    assert set(rows) == set(ran)
    for target, (of_float, percent, of_emitted, agreement, _) in rows.items():
        found = ran[target]["verify"]
        assert bool(percent) == found["is_share"]
        for wanted, got in ((of_float, "float"), (of_emitted, "emitted")):
            # another kind of processor may end elsewhere in training
            reached = found[f"{found['metric']}_{got}"] * (100 if percent else 1)
            assert reached == pytest.approx(float(wanted), abs=4 if percent else 0.1 * float(wanted))
        assert found["agreement"] * 100 == pytest.approx(float(agreement), abs=5)


@pytest.mark.slow
def test_pages_are_written_from_a_run(project: Path, tmp_path: Path) -> None:
    pages = tmp_path / "examples"
    shutil.copytree(EXAMPLES, pages)
    subprocess.run([sys.executable, pages / "write_results.py", project], check=True)
    for folder in FOLDERS:
        before, after = ((place / folder.name / "README.md").read_text() for place in (EXAMPLES, pages))
        assert ROW.sub("", before) == ROW.sub("", after)
        assert len(ROW.findall(after)) == len(ROW.findall(before))
