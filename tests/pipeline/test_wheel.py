"""The wheel is complete: installed in an environment of its own, it works in a repository that is not ours."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from recast.pipeline.core.version import version
from recast.pipeline.recipes.plugin_record import read_record
from tests.lib.repository import ROOT, commit, git, hashes, parsed_lock

SHIPPED = ("pipeline", "stages", "envs", "recipes/targets")
THEIRS = "raise SystemExit('a package of the project was taken for one of Recast')\n"


def committed() -> set[str]:
    """The files that a wheel must hold, by their names in it."""
    listed = subprocess.run(["git", "ls-files", *SHIPPED], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {f"recast/{name}" for name in listed.splitlines() if (ROOT / name).is_file()}


@pytest.mark.slow
def test_a_wheel_holds_every_file_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {".py", ".c", ".h", ".zig", ".js", ".html", ".txt", ".in", ".yaml"} <= {Path(name).suffix for name in names}
    assert names == committed() | {"recast/__init__.py", "recast/__main__.py", "recast/py.typed"}


@pytest.mark.slow
def test_a_repository_becomes_a_project_by_what_a_wheel_installs(installed: Path, tmp_path: Path) -> None:
    project = tmp_path / "a project"
    project.mkdir()
    git(project, "init", "--quiet")
    path = {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}"}
    recast = installed / "bin/recast"
    assert call(project, {}, recast, "--version") == f"recast {version()}\n"
    assert "wrote      recipes/digits.yaml" in call(project, path, recast, "init", "--yes", "--ci")
    assert f"recast-ml=={version()}\n" in (project / ".github/workflows/recast.yml").read_text()
    written = call(project, path, recast, "new", "other", "--model", "models.digits_cnn:DigitsCnn", "--target", "wasm")
    assert "wrote recipes/other.yaml; run it with 'recast run other'" in written
    assert call(project, path, recast, "check").count(": sound; ") == 2
    assert "  other " in call(project, path, recast, "list")
    assert "_shtab_recast" in call(project, path, recast, "completion", "bash")
    assert "problem" not in call(project, path, recast, "doctor")


@pytest.mark.slow
def test_a_recipe_runs_from_a_wheel_and_again_after_an_upgrade(wheel: Path, installed: Path, tmp_path: Path) -> None:
    project = tmp_path / "a project"
    for name in ("pipeline", "stages"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text(THEIRS)
    git(project, "init", "--quiet")
    path = {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}"}
    recast = installed / "bin/recast"
    call(project, path, recast, "init", "--yes")
    (project / "recipes/other.yaml").write_text("extends: digits\ntargets: {cairo: {}}\n")
    assert "11 stages in" in call(project, path, recast, "run", "digits")
    assert "recast stage digits train" in (project / "dvc.yaml").read_text()
    dvc = installed / "bin/dvc"
    ran, record = parsed_lock(project), (project / "recast.lock").read_text()
    assert ran["stages"]["digits-train"]["params"]["recast.lock"].keys() == {"stages.train", "tasks.classification"}
    call(project, path, dvc, "repro", "digits")
    assert parsed_lock(project) == ran
    # upgrades, each of one file and so that stages give what they gave: what has another digest
    (package,) = installed.glob("lib/*/site-packages/recast")
    cairo = {f"cairo.{stage}" for stage in ("quantize", "calibrate", "emit", "verify")}
    for file, other in {
        "pipeline/dvc/sync.py": set(),
        "stages/targets/cairo/ir/program.py": cairo,
        "stages/targets/cairo/run/csrc/machine.c": {"cairo.verify"},
        "envs/cairo.txt": cairo,
        "stages/trunk/simplify.py": {"simplify"},
    }.items():
        with edited(package / file):
            call(project, path, recast, "sync")
            now = read_record(project).digests
            assert {key for key in now if f" {now[key]}\n" not in record} == {f"stages.{name}" for name in other}, file
    # the last of them as `recast run` and as `dvc repro` do it
    call(project, path, recast, "sync")
    assert (project / "recast.lock").read_text() == record
    with edited(package / "stages/trunk/simplify.py"):
        call(project, path, recast, "sync")
        said = call(project, path, recast, "explain", "digits/simplify")
        assert "installed code that it runs with is another (stages.simplify in recast.lock)" in said
        said = call(project, path, recast, "run", "digits")
        assert set(re.findall(r"(digits/\S+): done in", said)) == {"digits/simplify"}
    with edited(package / "stages/trunk/export.py"):
        said = call(project, path, dvc, "repro", "digits")
        assert "since other code is installed than it said: stages.export, stages.simplify" in said
        assert set(re.findall("Running stage '(.*)'", said)) == {"guard", "digits-export"}
        said = call(project, path, recast, "run", "digits")
        assert "wrote" not in said and ": done in" not in said
    assert hashes(project) == {name: entry["outs"] for name, entry in ran["stages"].items()}


@contextmanager
def edited(file: Path) -> Iterator[None]:
    """Another version of it for as long as the body runs, which does what it did."""
    sound = file.read_bytes()
    file.write_bytes(sound + {".py": b"# newer\n", ".c": b"/* newer */\n", ".txt": b"# newer\n"}[file.suffix])
    try:
        yield
    finally:
        file.write_bytes(sound)


@pytest.mark.slow
def test_recast_works_from_a_wheel_in_a_foreign_repository(installed: Path, tmp_path: Path) -> None:
    place = installed
    project = tmp_path / "a project"
    for name, text in {
        "pipeline/__init__.py": THEIRS,
        "stages/__init__.py": THEIRS,
        "models/__init__.py": "",
        "models/net.py": "class Net: ...\n",
        "params.yaml": "data_root: downloads\n",
        "recipes/mine.yaml": "model: models.net:Net\nstages:\n  data: {dataset: digits}\n"
        "targets: {akida: {}, onnxruntime: {}, wasm: {}, zml: {}}\n",
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    git(project, "init", "--quiet")
    said = call(project, {}, place / "bin/recast", "check", "mine")
    assert "recipes/mine.yaml: sound; " in said and "targets: akida, onnxruntime, wasm, zml" in said
    assert "  wasm/emit " in call(project, {}, place / "bin/python", "-m", "recast", "plan", "mine", "--no-status")
    # what a stage's process gets of it: Recast, and nothing of what it was installed among
    code = (
        "from pathlib import Path; from recast.pipeline.core.layout import import_folder; print(import_folder(Path()))"
    )
    alone = call(project, {}, place / "bin/python", "-c", code).strip()
    code = "import importlib.util as u; print([name for name in ('recast', 'pydantic') if u.find_spec(name)])"
    command = (sys.executable, "-S", "-P", "-c", code)
    assert call(project, {"PYTHONPATH": alone}, *command).strip() == "['recast']"


SMALL = """\
model: mypkg.nets:small
stages: {data: {dataset: digits}, train: {epochs: 1, batch_size: 64, lr: 0.01}, export: {opset: 18}, simplify: {}}
targets: {onnxruntime: {}}
requirements: {torch: [timm==1.0.22]}
"""
NETS = """\
import timm
from torch import nn


def small() -> nn.Module:
    return timm.create_model("test_resnet", in_chans=1, num_classes=10)
"""
THEIR_DVC = """\
# theirs
stages:
  count:  # counts
    cmd: ls src > counted
    outs: [counted]
"""


THEIRS_BEFORE = {
    "pipeline/__init__.py": THEIRS,
    "stages/__init__.py": THEIRS,
    "src/mypkg/__init__.py": '"""Theirs."""\n',
    "src/mypkg/nets.py": NETS,
    "dvc.yaml": THEIR_DVC,
    "params.yaml": "lr: 3  # theirs\n",
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that is not ours, and no project yet."""
    project = tmp_path_factory.mktemp("foreign") / "a project"
    for name, text in THEIRS_BEFORE.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project


@pytest.mark.slow
def test_a_model_below_src_that_needs_timm_runs_in_a_foreign_repository(installed: Path, foreign: Path) -> None:
    project = foreign
    git(project, "init", "--quiet")
    path = {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}"}
    recast, dvc = installed / "bin/recast", installed / "bin/dvc"
    assert "params.yaml: import_roots: [src]" in call(project, path, recast, "init", "--yes")
    # what is missing is said with the command, and so is what is asked for and not locked
    asked = ("new", "small", "--model", "mypkg.nets:small", "--target", "onnxruntime")
    refused = call(project, path, recast, *asked, code=2)
    assert "src/mypkg/nets.py:1" in refused and "timm" in refused and "and run 'recast env lock'" in refused
    recipe = project / "recipes/small.yaml"
    recipe.write_text(SMALL)
    unlocked = call(project, path, recast, "check", "small", code=2)
    assert "there is no recipes/locks/torch.small.txt; run 'recast env lock'" in unlocked
    assert "wrote recipes/locks/torch.small.txt" in call(project, path, recast, "env", "lock")
    pins = (project / "recipes/locks/torch.small.txt").read_text().splitlines()
    assert "timm==1.0.22" in pins and not [pin for pin in pins if pin.startswith(("torch", "nvidia", "cuda", "triton"))]
    assert "recipes/small.yaml: sound" in call(project, path, recast, "check", "small")
    assert "problem" not in call(project, path, recast, "doctor")
    assert "11 stages in" in call(project, path, recast, "run", "small")
    stages = YAML(typ="safe").load((project / "dvc.yaml").read_text())["stages"]
    reading = [name for name, entry in stages.items() if "recipes/locks/torch.small.txt" in entry.get("deps", ())]
    assert reading == ["small-train", "small-export"] and "src/mypkg/nets.py" in stages["small-train"]["deps"]
    ran = parsed_lock(project)
    repeated = call(project, path, dvc, "repro", "small")
    assert "Running stage 'small-" not in repeated and parsed_lock(project) == ran
    # an edit of the model, found below src/, is one of the stages that import it
    (project / "src/mypkg/nets.py").write_text(f"{NETS}# edited\n")
    assert "small-train" in call(project, path, dvc, "status", "small-train")
    call(project, path, dvc, "repro", "small")
    assert hashes(project) == {name: entry["outs"] for name, entry in ran["stages"].items()}
    for name, text in THEIRS_BEFORE.items():
        now = (project / name).read_text()
        assert text in now if name in ("dvc.yaml", "params.yaml") else now.startswith(text)


@pytest.mark.slow
def test_experiments_worktrees_and_clones_work_in_a_foreign_repository(installed: Path, foreign: Path) -> None:
    """Of the project that the test before has made and run."""
    project, lr = foreign, "recipes/small.yaml:stages.train.lr"
    variables = {"PATH": f"{installed / 'bin'}:{os.environ['PATH']}"}

    def say(place: Path, *command: str) -> str:
        """What it says, on both streams; no command of it builds an environment."""
        said = call(place, variables, "sh", "-c", '"$@" 2>&1', "sh", *command)
        assert "building the environment" not in said
        return said

    def running(said: str) -> set[str]:
        return set(re.findall("Running stage '(.*)'", said)) - {"guard", "guard-device"}

    (project / "recipes/never.yaml").write_text("extends: small\nstages: {train: {lr: 0.03}}\n")
    say(project, "recast", "env", "lock")
    say(project, "recast", "sync")
    for name, value in (("name", "t"), ("email", "t@example.org")):
        git(project, "config", f"user.{name}", value)
    commit(project, "small has run")

    said = say(project, "dvc", "exp", "run", "--temp", "-n", "hot", "-S", f"{lr}=0.02", "small")
    assert "Ran experiment(s): hot" in said and "small-train" in running(said) and "small-data" not in running(said)
    say(project, "dvc", "exp", "run", "--queue", "-n", "cold", "-S", f"{lr}=0.001", "small")
    say(project, "dvc", "queue", "start")
    deadline = time.monotonic() + 600
    while "Success" not in (status := say(project, "dvc", "queue", "status")):
        assert "Failed" not in status and time.monotonic() < deadline, say(project, "dvc", "queue", "logs", "cold")
        time.sleep(1)
    assert "small-train" in say(project, "dvc", "queue", "logs", "cold")
    assert not say(project, "git", "status", "--porcelain")
    shown = list(csv.DictReader(io.StringIO(say(project, "dvc", "exp", "show", "--csv"))))
    assert {row["Experiment"]: row[lr] for row in shown}.items() >= {"hot": "0.02", "cold": "0.001"}.items()

    # the recipe that never ran has nothing to check out, and DVC calls that an error
    say(project, "sh", "-c", "dvc exp apply hot || true")
    assert "lr: 0.02" in (project / "recipes/small.yaml").read_text()
    # the guard, which looks at the code that is installed, and nothing else
    assert say(project, "dvc", "status", "--with-deps", "small") == "guard:\n\talways changed\n"
    assert ": done in" not in say(project, "recast", "run", "small")
    git(project, "checkout", "--quiet", ".")
    say(project, "dvc", "checkout", "--with-deps", "small")

    git(project, "worktree", "add", "--quiet", "../tree", "-b", "tree")
    git(project.parent, "clone", "--quiet", str(project), "clone")
    for place in (project.parent / "tree", project.parent / "clone"):
        say(place, "dvc", "cache", "dir", "--local", str(project / ".dvc/cache"))
        assert not running(say(place, "dvc", "repro", "small"))
        assert ": done in" not in say(place, "recast", "run", "small")
    for name, text in THEIRS_BEFORE.items():
        now = (project / name).read_text()
        assert text in now if name in ("dvc.yaml", "params.yaml") else now.startswith(text)


def call(project: Path, variables: Mapping[str, str], *command: str | Path, code: int = 0) -> str:
    """What a command says that ends with that code."""
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        list(map(str, command)), cwd=project, env={**kept, **variables}, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + (done.stderr if code else "")
