"""DVC's experiments, by the real DVC on a recipe that really trains, beside another recipe that never ran.

What `dvc exp run --temp`, the queue, and a git worktree run in holds nothing that git does not have.
"""

from __future__ import annotations

import csv
import io
import os
import re
import time
from pathlib import Path

import pytest

from tests.lib.repository import ROOT, call, commit, git
from tests.pipeline.dvc.test_dvc_behaviour import prepare, ran

pytestmark = pytest.mark.slow

LR = "recipes/tiny.yaml:stages.train.lr"
FEWER = ("--only-changed", "--drop", r"artifacts/[^:]*$|recipes$")
"""as docs/dvc_commands.md says it"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe has run, on what was chosen for this machine."""
    place = prepare(tmp_path_factory.mktemp("experiments") / "a b")
    never = (place / "recipes/tiny.yaml").read_text().replace("lr: 0.01", "lr: 0.03")
    (place / "recipes/never.yaml").write_text(never)
    git(place, "config", "user.name", "t")
    git(place, "config", "user.email", "t@example.org")
    call(place, "./recast", "run", "tiny")
    commit(place, "tiny has run")
    return place


def dvc(place: Path, *arguments: str, check: bool = True) -> str:
    """What DVC says. It is on PATH as in an activated environment: the queue's worker calls it by its name."""
    path = f"{place / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    done = call(place, "dvc", *arguments, check=check, PATH=path)
    return done.stdout + done.stderr


def table(place: Path, *options: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(call(place, ".venv/bin/dvc", "exp", "show", "--csv", *options).stdout)))


def changes(place: Path) -> str:
    return call(place, "git", "status", "--porcelain").stdout


def test_a_temporary_copy_has_all_that_the_recipe_needs(project):
    said = dvc(project, "exp", "run", "--temp", "-n", "hot", "-S", f"{LR}=0.02", "tiny")
    assert "Ran experiment(s): hot" in said and "building the environment" not in said
    assert ran(said) >= {"guard", "guard-device", "tiny-train", "tiny"} and "tiny-data" not in ran(said)
    assert not changes(project)


def test_the_queue_runs_what_waits_in_it(project):
    dvc(project, "exp", "run", "--queue", "-n", "cold", "-S", f"{LR}=0.001", "tiny")
    dvc(project, "queue", "start")
    deadline = time.monotonic() + 600
    while "Success" not in (status := dvc(project, "queue", "status")):
        assert "Failed" not in status and time.monotonic() < deadline, dvc(project, "queue", "logs", "cold")
        time.sleep(1)
    assert "building the environment" not in dvc(project, "queue", "logs", "cold")
    assert not changes(project)


def test_the_table_of_experiments_can_be_read(project):
    rows = {row["Experiment"] or row["rev"]: row for row in table(project, *FEWER)}
    measured = {"accuracy", "accuracy_emitted", "accuracy_float", "agreement", "cosine", "max_abs_error", "sqnr_db"}
    about = {"Experiment", "rev", "typ", "Created", "State", "Executor"}
    assert set(rows["hot"]) - about - measured == {LR}
    assert rows["hot"][LR] == "0.02" and rows["cold"][LR] == "0.001" and rows["workspace"][LR] == "0.01"


def test_an_experiment_is_applied_and_compared(project):
    applied = dvc(project, "exp", "apply", "hot", check=False)
    assert "lr: 0.02" in (project / "recipes/tiny.yaml").read_text()
    # the recipe that never ran has nothing to check out, and DVC calls that an error
    assert "artifacts/never" in applied and "artifacts/tiny" not in applied
    assert dvc(project, "status", "--with-deps", "tiny") == "Data and pipelines are up to date.\n"
    assert "up to date" in call(project, "./recast", "run", "tiny").stdout
    assert "stages.train.lr" in dvc(project, "params", "diff")
    assert "artifacts/tiny/train/metrics.json" in dvc(project, "metrics", "diff")
    assert dvc(project, "metrics", "diff", "--targets", "artifacts/tiny/train/metrics.json").startswith("Path")
    git(project, "checkout", "--quiet", ".")
    dvc(project, "checkout", "--with-deps", "tiny")


def test_in_the_workspace_an_experiment_restores_what_was_tried_before(project):
    said = dvc(project, "exp", "run", "-n", "again", "-S", f"{LR}=0.02", "tiny")
    assert "Ran experiment(s): again" in said and not ran(said) - {"guard", "guard-device"}
    git(project, "checkout", "--quiet", ".")
    dvc(project, "checkout", "--with-deps", "tiny")


def test_nothing_is_said_of_the_recipe_that_never_ran_with_what_the_docs_say(project):
    assert "artifacts/never" in dvc(project, "checkout", check=False)
    assert dvc(project, "checkout", "--quiet", "--allow-missing") == ""
    assert "never" not in dvc(project, "checkout", "--with-deps", "tiny")
    dvc(project, "install")
    scripts = re.findall(r"^```sh\n(#!.*?)^```", (ROOT / "docs/dvc_commands.md").read_text(), re.MULTILINE | re.DOTALL)
    for script in scripts:
        name = script.splitlines()[1].removeprefix("# .git/hooks/")
        (project / ".git/hooks" / name).write_text(script.replace("digits", "tiny"))
    assert len(scripts) == 2
    path = f"{project / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    for command in (("checkout", "--quiet", "-b", "hooked"), ("commit", "--quiet", "--allow-empty", "-m", "hooked")):
        done = call(project, "git", *command, PATH=path)
        assert "never" not in done.stdout + done.stderr
    for name in ("post-checkout", "pre-commit", "pre-push"):
        (project / ".git/hooks" / name).unlink()


def test_a_worktree_trains_nothing_anew_and_has_experiments(project):
    git(project, "worktree", "add", "--quiet", "../tree", "-b", "tree")
    tree = project.parent / "tree"
    # a worktree has a cache of its own unless it is told of another; `.dvc/config.local` is no file of git's
    call(tree, str(project / ".venv/bin/dvc"), "cache", "dir", "--local", str(project / ".dvc/cache"))
    by_dvc = call(tree, str(project / ".venv/bin/dvc"), "repro", "tiny").stdout
    assert ran(by_dvc) <= {"guard", "guard-device"} and "building the environment" not in by_dvc
    assert (tree / "device.txt").read_text() == (project / "device.txt").read_text()
    said = call(tree, str(project / ".venv/bin/dvc"), "exp", "run", "--temp", "-n", "t", "-S", f"{LR}=0.02", "tiny")
    assert "Ran experiment(s): t" in said.stdout
