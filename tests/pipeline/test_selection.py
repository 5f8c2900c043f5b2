"""Only the environments of tests that are selected are built; what runs where is said before anything is imported."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.processes import environments
from tests import run
from tests.lib.repository import ROOT

FIRST = "# environment: torch\n"
HEAVY = f"{FIRST}import absent\nfrom absent.inner import thing\nimport pytest\n"
CASES = """
@pytest.mark.parametrize("case", [thing, 3, "named"])
def test_one(case): ...

class TestOf(absent.Base):
    @pytest.mark.slow
    @pytest.mark.parametrize("width", [8, 16])
    def test_two(self, width): ...
"""
PLAIN = f"""{FIRST}import absent, pytest
@absent.decorated(3)
def helper(): ...
SIZE = absent.sizes["small"] * 2 + 1
@pytest.mark.parametrize("value", ["small", "large"])
def test_three(value, kind: absent.Kind | None = None): ...
"""


def lay(root: Path, files: Mapping[str, str]) -> Path:
    """A tree of tests of its own, with these files below tests/stages."""
    (root / "tests" / "stages").mkdir(parents=True)
    (root / "tests" / "lib").mkdir()
    for name in ("selection.py", "conftest.py", "lib/in_memory.py", "lib/tally.py"):
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", root)
    for name, text in files.items():
        (root / "tests" / "stages" / name).write_text(text)
    return root


def select(root: Path, *selections: list[str]) -> list[dict[str, Any]]:
    """What each of these lists of arguments selects."""
    code = "import json, sys; from tests.selection import select\n"
    code += "found = [select(one)[1] for one in json.loads(sys.argv[1])]; print(json.dumps(found))"
    command = [sys.executable, "-c", code, json.dumps(selections)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def names(selected: dict[str, Any]) -> list[str]:
    assert selected["collected"]
    return [Path(file).stem.removeprefix("test_") for file in selected["files"]]


SELECTIONS: list[tuple[list[str], list[str]]] = [
    ([], ["heavy", "plain"]),
    (["-k", "three"], ["plain"]),
    (["-k", "large"], ["plain"]),
    (["-k", "TestOf"], ["heavy"]),
    (["-k", "two and 16"], ["heavy"]),
    (["-k", "two and 17"], []),
    (["-m", "slow"], ["heavy"]),
    (["-m", "not slow", "-k", "two or three"], ["plain"]),
    (["tests/stages/test_heavy.py"], ["heavy"]),
    (["./tests/stages/test_plain.py::test_three"], ["plain"]),
    (["tests/stages/test_plain.py::test_three[large]", "tests/stages/test_heavy.py"], ["heavy", "plain"]),
    (["tests/pipeline"], []),
    (["tests", "-k", "plain"], ["plain"]),
    (["--deselect", "tests/stages/test_plain.py", "-x"], ["heavy"]),
]


def test_what_pytest_would_run_is_found_without_the_packages(tmp_path: Path) -> None:
    cases = CASES.replace("[thing, ", "[")
    root = lay(tmp_path, {"test_heavy.py": HEAVY + cases, "test_plain.py": PLAIN})
    for selected, (arguments, files) in zip(select(root, *(one for one, _ in SELECTIONS)), SELECTIONS, strict=True):
        assert names(selected) == files, arguments
        assert not selected["unknown"], arguments
        assert selected["paths"] == [one for one in arguments if "tests" in one and "--deselect" not in arguments]


UNSURE = {
    "an id that the package gives": HEAVY + CASES,
    "a list that the package makes": f"{HEAVY}@pytest.mark.parametrize('case', thing.names())\ndef test_one(case): ...",
    "a condition": f"{HEAVY}if absent.version > 3:\n    def test_one(): ...",
    "a function of the package's": f"{HEAVY}@thing\ndef test_one(): ...",
    "a class of the package's": f"{HEAVY}TestOne = thing",
    "a text": f"{HEAVY}NAME = f'{{thing}}'",
    "a module that skips itself": f"{FIRST}import pytest\npytest.importorskip('nowhere_at_all')\ndef test_one(): ...",
    "no Python": f"{FIRST}def test_one(:",
}


def test_where_it_cannot_be_told_the_file_counts_as_selected(tmp_path: Path) -> None:
    files = {f"test_unsure_{number}.py": text for number, text in enumerate(UNSURE.values())}
    root = lay(tmp_path, {**files, "test_plain.py": PLAIN})
    (selected,) = select(root, ["-k", "no_test_is_called_so", "-x"])
    assert names(selected) == [f"unsure_{number}" for number in range(len(UNSURE))]
    assert {what.partition("::")[0] for what in selected["unknown"]} == {f"tests/stages/{name}" for name in files}


@pytest.mark.slow
def test_the_environments_collect_the_same() -> None:
    """.venv may hold another version of a package than they do."""
    here = collected(sys.executable, [], {})
    there: set[str] = set()
    for name, files in run.stage_groups([], select(ROOT, [])[0]["files"]).items():
        python = environments.ensure(ROOT, name, print).python
        there |= collected(
            str(python), files, {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT, run.pytest_folder())))}
        )
    assert there - here == set() and there


def collected(python: str, files: list[str], variables: Mapping[str, str]) -> set[str]:
    """The ids of all tests; with no files, as tests/selection.py collects them."""
    code = "import sys; from tests import selection; print(selection.select(sys.argv[1:])[2])"
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", *files]
    done = subprocess.run(
        command if files else [python, "-c", code],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {line for line in done.stdout.splitlines() if line.startswith("tests/")}


def test_where_nothing_is_selected_nothing_is_built(tmp_path: Path) -> None:
    root = lay(tmp_path, {"test_heavy.py": HEAVY})
    shutil.copy(ROOT / "tests/run.py", root / "tests")
    for name in ("pipeline", "stages", "src"):
        shutil.copytree(ROOT / name, root / name, symlinks=True)
    for name in ("pipeline", "faults"):
        (root / "tests" / name).mkdir()

    def tests(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "tests/run.py", *arguments]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        return done.returncode, done.stdout.strip()

    code, said = tests("-k", "no_test_is_called_so")
    assert code == 5 and said.splitlines()[-1] == "no test is selected", said
    code, said = tests("-k", "this and")
    assert code == 4 and said.count("Wrong expression passed to '-k'") == 1 and "environment" not in said
    code, said = tests("tests/stages/nowhere")
    assert code == 4 and "file or directory not found: tests/stages/nowhere" in said
    assert tests("--version")[0] == 0
    assert not (root / ".recast").exists()


def path_of(name: str) -> str:
    (path,) = (ROOT / "tests").rglob(name)
    return path.relative_to(ROOT).as_posix()


TRAIN, CPU, SHAPES = map(path_of, ("test_train.py", "test_cpu.py", "test_onnx_shapes.py"))
ALL = {"torch": [TRAIN], "onnx": sorted([CPU, SHAPES])}
ONE = path_of("test_cpu_kind.py")


@pytest.mark.parametrize(
    ("paths", "runner", "groups"),
    [
        ([], [*run.RUNNER], ALL),
        (["tests"], [*run.RUNNER], ALL),
        (["tests/faults"], ["tests/faults"], {}),
        (["./"], [*run.RUNNER], ALL),
        (["tests/stages"], [], ALL),
        ([ONE, f"{ONE}::test_x"], [ONE, f"{ONE}::test_x"], {}),
        ([ONE, CPU], [ONE], {"onnx": [CPU]}),
        ([f"{CPU}::test_x[a/b::c]", f"{CPU}::test_y"], [], {"onnx": [f"{CPU}::test_x[a/b::c]", f"{CPU}::test_y"]}),
        ([f"{CPU}::test_x", CPU, f"{TRAIN}::test_x"], [], {"onnx": [CPU], "torch": [f"{TRAIN}::test_x"]}),
        ([str(ROOT / CPU), f"tests/pipeline/../../{TRAIN}"], [], {"onnx": [CPU], "torch": [TRAIN]}),
    ],
)
def test_each_environment_is_given_its_own(paths: list[str], runner: list[str], groups: dict[str, list[str]]) -> None:
    assert run.runner_paths(paths) == runner
    # of what the paths name, tests/selection.py finds all
    named = [file for files in groups.values() for file in files]
    files = sorted({file.partition("::")[0] for file in named})
    assert run.stage_groups(paths, files) == groups


def test_each_test_of_the_runner_is_in_one_group() -> None:
    groups = [path for paths in run.runner_groups(run.RUNNER).values() for path in paths]
    for folder in run.RUNNER:
        for file in (run.ROOT / folder).rglob("test_*.py"):
            assert sum(file.is_relative_to(run.ROOT / path) for path in groups) == 1, file
    named = ["tests/pipeline/test_wheel.py::test_x", "tests/pipeline/dvc", "tests/faults/test_killed_runs.py"]
    assert run.runner_groups(named) == {
        "the runner": ["tests/pipeline/dvc"],
        "whole projects": ["tests/pipeline/test_wheel.py::test_x"],
        "planted faults": ["tests/faults/test_killed_runs.py"],
    }


def test_what_is_no_path_is_left_to_pytest() -> None:
    arguments = ["-k", "train", "tests/stages", "-x", f"{CPU}::test_x", "-m", "not slow"]
    assert run.without(arguments, ["tests/stages", f"{CPU}::test_x"]) == ["-k", "train", "-x", "-m", "not slow"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([CPU], f"{CPU} runs in the environment 'onnx'; use: .venv/bin/python tests/run.py -q {CPU}"),
        (
            [f"{TRAIN}::test_x", "-k", "a or b"],
            f"'torch'; use: .venv/bin/python tests/run.py -q {TRAIN}::test_x -k 'a or b'",
        ),
        (["tests/stages"], "more in theirs; use: .venv/bin/python tests/run.py -q tests/stages"),
    ],
)
def test_a_test_of_a_stage_started_in_another_environment_says_the_command(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 4 and said in done.stderr, done.stdout + done.stderr
    assert "Error" not in done.stdout
