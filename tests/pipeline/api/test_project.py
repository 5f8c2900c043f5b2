"""What a program has by `import recast`: the project, its plan and results, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import recast
from recast.pipeline.processes import environments
from tests.lib.repository import ROOT, Write, call, copy_repository


def test_importing_it_costs_nothing_and_every_name_is_there():
    code = "import recast, sys; print(len([name for name in sys.modules if name.startswith('recast.')]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
    assert recast.__all__
    for name in recast.__all__:
        assert getattr(recast, name) and name in dir(recast)
    with pytest.raises(AttributeError, match="no attribute 'open'"):
        _ = recast.open
    assert (ROOT / "src/recast/py.typed").is_file()


def test_a_project_is_found_from_below_and_its_plan_is_data(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    root = write({})
    monkeypatch.chdir(tmp_path)
    before = Path.cwd()
    project = recast.open_project(root / "models")
    assert project.root == root.resolve() and project.recipes == ("base",)
    plan = project.plan("base")
    assert plan.stages["base/train"].params["epochs"] == 3 and Path.cwd() == before
    with pytest.raises(recast.RecastError, match="no recipe named 'bse'"):
        project.plan("bse")
    (root / "recipes/base.yaml").write_text("model: 3\nstages: {dta: {}}\n")
    with pytest.raises(recast.RecipeError) as caught:
        project.plan("base")
    assert caught.value.problems and Path.cwd() == before


def test_where_there_is_no_project_is_said(tmp_path: Path):
    with pytest.raises(recast.RecastError, match="recast init"):
        recast.open_project(tmp_path)


def test_results_and_arrays_are_what_stages_wrote(write: Write):
    root = write({"artifacts/base/data/metrics.json": json.dumps({"samples": 3})})
    project = recast.open_project(root)
    folder = project.output("base/data")
    assert project.results("base") == {"base/data": {"samples": 3}}
    x = np.arange(6, dtype=np.uint8).reshape(3, 2)
    np.savez(folder / "test.npz", x=x)
    assert (project.arrays("base/data", "test")["x"] == x).all()
    with pytest.raises(recast.RecastError, match="no arrays named 'tset'; it has: test"):
        project.arrays("base/data", "tset")
    with pytest.raises(recast.RecastError, match=r"no arrays named '\.\./data/test'"):
        project.arrays("base/data", "../data/test")
    np.savez(folder / "evil.npz", x=np.array([object()], dtype=object))
    with pytest.raises(recast.RecastError, match=r"cannot read evil\.npz"):
        project.arrays("base/data", "evil")
    with pytest.raises(recast.RecastError, match="base/train has made nothing yet"):
        project.output("base/train")
    (folder / "metrics.json").write_text("{")
    with pytest.raises(recast.RecastError, match="no JSON"):
        project.results("base")


@pytest.mark.slow
def test_the_notebook_runs_cell_by_cell(tmp_path: Path):
    """By Python itself: the notebook has no magics, and a kernel would bring forty packages."""
    copy_repository(tmp_path)
    notebook = json.loads((tmp_path / "examples/first_model.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 6 and not any(cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    (tmp_path / "run.py").write_text(
        "import json, sys\nspace = {}\n"
        "for number, cell in enumerate(json.load(sys.stdin)):\n"
        "    exec(compile(cell, f'cell {number}', 'exec'), space)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=tmp_path,
        env=environment,
        input=json.dumps(cells),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "digits/train: done" in done.stdout and "of 359 test samples" in done.stdout
    # it is what the command line has, too
    assert "up to date" in call(tmp_path, "./recast", "run", "digits", "--target", "onnxruntime").stdout


def test_a_model_that_was_not_made_or_has_no_runtime_is_said(write: Write, monkeypatch: pytest.MonkeyPatch):
    here = SimpleNamespace(python=Path(sys.executable))
    monkeypatch.setattr(environments, "ensure", lambda root, name, say: here)
    project = recast.open_project(write({}))
    with pytest.raises(recast.RecastError, match="base/akida has emitted nothing yet"):
        project.model("base/akida")
    with pytest.raises(recast.RecastError, match="no target 'akidda'"):
        project.model("base/akidda")
