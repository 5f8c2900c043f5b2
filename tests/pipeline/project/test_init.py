"""`recast init` in repositories that are not ours: what it writes works, and nothing of theirs is lost."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recast.pipeline.cli.main import main
from recast.pipeline.core.errors import RecastError
from recast.pipeline.project import init
from recast.pipeline.project.init import Done
from tests.lib.repository import ROOT, call, commit, copy_repository, git

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh git repository in a path with a space, entered."""
    place = tmp_path / "a project"
    place.mkdir()
    git(place, "init", "--quiet")
    monkeypatch.chdir(place)
    return place


def recast(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as if it were installed: nothing of the project leads to it."""
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        [sys.executable, "-P", "-m", "recast", *arguments],
        cwd=place,
        env={**kept, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def contents(place: Path) -> dict[str, bytes]:
    found = (path for path in place.rglob("*") if ".git" not in path.parts and ".dvc" not in path.parts)
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in found if path.is_file()}


def made(place: Path, **options: bool) -> dict[str, Done]:
    chosen = {"subdir": False, "workflow": False, **options}
    return {touched.file: touched.done for touched in init.init(place, **chosen)}


def test_a_fresh_repository_becomes_a_project_whose_recipe_is_sound(project: Path) -> None:
    done = recast(project, "init", "--yes", "--ci")
    assert done.returncode == 0, done.stderr
    for name in (".dvc/", "params.yaml", "recipes/digits.yaml", "models/digits_cnn.py", init.WORKFLOW):
        assert f"wrote      {name}" in done.stdout
    assert "next: 'recast run digits'" in done.stdout
    checked = recast(project, "check")
    assert checked.stdout == "recipes/digits.yaml: sound; 8 stages; targets: onnxruntime\n", checked.stderr
    # git has all of it, and nothing that a run leaves
    (project / ".recast").mkdir(exist_ok=True)
    (project / ".recast/any").touch()
    synced = recast(project, "sync")
    assert synced.returncode == 0 and "wrote dvc.yaml" in synced.stdout and "schema" not in synced.stdout
    commit(project, "all")
    listed = subprocess.run(["git", "ls-files"], cwd=project, capture_output=True, text=True, check=True).stdout
    assert set(listed.splitlines()) == {
        *(".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore", init.WORKFLOW, "dvc.yaml", "params.yaml"),
        *("models/__init__.py", "models/digits_cnn.py", "recipes/digits.yaml", "recipes/schema.json"),
    }


def test_the_recast_of_a_clone_says_that_it_runs_no_other_project(project: Path) -> None:
    wanted = f"this Recast is that of the clone {ROOT}"
    install = shlex.join(["python", "-m", "pip", "install", "--requirement", f"{ROOT}/envs/recast.txt", str(ROOT)])
    begun = recast(project, "init", "--yes")
    assert begun.returncode == 0 and wanted in begun.stderr and install in begun.stderr
    ran = recast(project, "run", "digits")
    assert ran.returncode == 2 and wanted in ran.stderr and install in ran.stderr
    assert not (project / "dvc.yaml").exists()


def test_a_second_time_leaves_everything_as_it_is(project: Path) -> None:
    made(project, workflow=True)
    before = contents(project)
    again = made(project, workflow=True)
    assert set(again.values()) == {Done.KEPT} and len(again) > 5
    assert contents(project) == before


def test_nothing_of_theirs_is_overwritten(project: Path) -> None:
    theirs = {
        ".gitignore": b"/artifacts\n*.pt",  # no line end
        ".dvcignore": b"*.tmp\r\n",
        "params.yaml": b"data_root: elsewhere\n",
        "models/__init__.py": b"# theirs\n",
        "models/net.py": b"class Net: ...\n",
        "pipeline/__init__.py": b"raise SystemExit\n",
        "dvc.yaml": b"stages: {}\n",
        init.WORKFLOW: b"# theirs\n",
    }
    for name, text in theirs.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(text)
    did = made(project, workflow=True)
    after = contents(project)
    for name, text in theirs.items():
        assert after[name] == text if name not in (".gitignore", ".dvcignore") else after[name].startswith(text)
    assert did["params.yaml"] is did[init.WORKFLOW] is Done.KEPT and did[".gitignore"] is Done.ADDED
    assert after[".gitignore"].decode().splitlines()[:3] == ["/artifacts", "*.pt", ".recast/"]
    assert b"artifacts/\n" not in after[".gitignore"], "it ignores that already"
    assert after[".dvcignore"].endswith(b"\r\n") and b"\r\n.recast\r\n" in after[".dvcignore"]
    assert did["models/digits_cnn.py"] is Done.WROTE and "models/__init__.py" not in did


@pytest.mark.parametrize(
    ("before", "after", "done"),
    [
        (None, None, Done.WROTE),
        ("lr: 3  # mine", "lr: 3  # mine\nimport_roots: [src]\n", Done.ADDED),
        ("lr: 3\r\n", "lr: 3\r\nimport_roots: [src]\r\n", Done.ADDED),
        ("", "import_roots: [src]\n", Done.ADDED),
        ("import_roots: [.]\n", "import_roots: [.]\n", Done.KEPT),
        ("{lr: 3}\n", "{lr: 3}\n", Done.KEPT),
    ],
)
def test_a_src_layout_is_found_out(before: str | None, after: str | None, done: Done, project: Path) -> None:
    (project / ".dvc").mkdir()  # DVC's own part takes the most time
    (project / "src/mypkg").mkdir(parents=True)
    (project / "src/mypkg/__init__.py").touch()
    (project / "src/mypkg/nets.py").write_text("class Net: ...\n")
    if before is not None:
        (project / "params.yaml").write_bytes(before.encode())
    touched = {one.file: one for one in init.init(project, subdir=False, workflow=False)}["params.yaml"]
    text = (project / "params.yaml").read_bytes().decode()
    assert touched.done is done and (after is None or text == after)
    assert done is Done.KEPT or any(line.startswith("import_roots: [src]") for line in text.splitlines())
    if before == "{lr: 3}\n":
        assert touched.note == "add 'import_roots: [src]' to it, for recipes to name what is in src/"


def test_a_src_that_holds_no_packages_or_is_one_changes_nothing(project: Path) -> None:
    (project / ".dvc").mkdir()
    (project / "src").mkdir()
    (project / "src/main.c").touch()
    made(project)
    assert "import_roots" not in (project / "params.yaml").read_text()
    (project / "params.yaml").unlink()
    (project / "src/__init__.py").touch()
    (project / "src/net.py").touch()
    assert made(project)["params.yaml"] is Done.WROTE and "import_roots" not in (project / "params.yaml").read_text()


def test_where_there_are_recipes_none_is_added(project: Path) -> None:
    (project / "recipes").mkdir()
    (project / "recipes/mine.yaml").write_text("a: 1\n")
    did = made(project)
    assert did["recipes/"] is Done.KEPT and not (project / "models").exists()


def test_a_module_called_models_is_not_hidden(project: Path) -> None:
    (project / "models.py").write_text("theirs = 1\n")
    assert made(project)["recipe_models/digits_cnn.py"] is Done.WROTE
    assert "model: recipe_models.digits_cnn:DigitsCnn\n" in (project / "recipes/digits.yaml").read_text()
    assert recast(project, "check").returncode == 0 and not (project / "models").exists()


def test_a_model_of_theirs_by_the_same_name_is_left_alone(project: Path) -> None:
    (project / "models").mkdir()
    (project / "models/digits_cnn.py").write_text("theirs = 1\n")
    made(project)
    assert (project / "models/digits_cnn.py").read_text() == "theirs = 1\n"
    assert recast(project, "check").returncode == 0


def test_what_git_ignores_is_said(project: Path) -> None:
    (project / ".gitignore").write_text("models/\n")
    notes = {touched.file: touched.note for touched in init.init(project, subdir=False, workflow=False)}
    assert "but git ignores it; 'git add --force models/digits_cnn.py'" in notes["models/digits_cnn.py"]
    assert not notes["recipes/digits.yaml"]


def test_dvc_that_is_there_is_joined(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=project, check=True)
    (project / ".dvc/config").write_text("[core]\n    remote = mine\n['remote \"mine\"']\n    url = /tmp\n")
    before = (project / ".dvc/config").read_bytes()
    assert made(project)[".dvc/"] is Done.KEPT
    assert (project / ".dvc/config").read_bytes() == before


def test_outside_git_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "bare"
    place.mkdir()
    # the temporary folder may itself lie in somebody's repository
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    done = recast(place, "init", "--yes")
    assert done.returncode == 2 and "lies in no git repository; run 'git init' in it first" in done.stderr
    assert not list(place.iterdir())


def test_what_git_refuses_is_said_in_its_words(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(RecastError, match=r"git refuses .*dubious ownership"):
        init.git_top(project)


def test_a_folder_below_the_top_is_a_project_only_if_it_is_meant(project: Path) -> None:
    below = project / "parts" / "one"
    below.mkdir(parents=True)
    refused = recast(below, "init", "--yes")
    assert refused.returncode == 2 and "add --subdir" in refused.stderr and not list(below.iterdir())
    done = recast(below, "init", "--yes", "--subdir")
    assert done.returncode == 0, done.stderr
    assert recast(below, "check").returncode == 0 and not (project / ".dvc").exists()


@pytest.mark.parametrize("name", ["recipes", ".dvc"])
def test_a_file_where_a_folder_is_needed_is_refused_first(name: str, project: Path) -> None:
    (project / name).write_text("theirs")
    with pytest.raises(RecastError, match=f"{name} is a file, and a folder of that name is needed; rename the file"):
        made(project)
    assert contents(project).keys() <= {name}


def test_what_was_sound_before_is_checked_after(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "recipes").mkdir()
    (project / "recipes/mine.yaml").write_text("modle: a:B\n")
    with pytest.raises(SystemExit) as left:
        main(["init", "--yes"])
    assert left.value.code == 2 and "recipes/mine.yaml:1:1: unknown key 'modle'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_first_recipe_runs(tmp_path: Path) -> None:
    place = copy_repository(tmp_path / "a clone")
    for path in [*place.glob("recipes/*.yaml"), *place.glob("models/*.py")]:
        path.unlink()
    call(place, "./recast", "init", "--yes")
    said = call(place, "./recast", "run", "digits").stdout
    planned = re.search(r"(\d+) stages planned", said)
    assert planned and f"{planned[1]} done" in said and "artifacts/digits/onnxruntime/emit/model.onnx" in said
    assert (place / "artifacts/digits/onnxruntime/emit/model.onnx").is_file()


@pytest.mark.parametrize(("answer", "wanted"), [("y", True), ("", False), ("no", False)])
def test_on_a_terminal_the_workflow_is_asked_for(answer: str, wanted: bool, project: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    asked = [sys.executable, "-P", "-m", "recast", "init"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(asked, cwd=project, env=environment, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 0, done.stderr
    assert (project / init.WORKFLOW).exists() is wanted


def test_nobody_is_asked_without_a_terminal(project: Path) -> None:
    done = recast(project, "init")
    assert done.returncode == 0 and "[y/N]" not in done.stdout and not (project / ".github").exists()
