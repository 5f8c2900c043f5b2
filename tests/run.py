"""Runs the tests, each file in the environment it is for.

Tests of the runner run in .venv. A test of a stage names its environment on its first line
(`# environment: torch`) and runs inside it: it calls the stage's code on the real packages. Pytest
is no part of those environments, so it is laid beside them in .recast/.
Arguments are pytest's: `python tests/run.py -m "not slow" -k train`, or a path, or a test's id. Only the environments
of what they select are built. The last line counts the tests of all environments.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pytest import ExitCode

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from recast.pipeline.processes import environments  # noqa: E402 - needs the path set above
from recast.pipeline.processes.tool_variables import SWITCHES, tool_variables  # noqa: E402
from recast.pipeline.processes.uv import find_uv, index_options  # noqa: E402
from tests.selection import environment_of  # noqa: E402

PYTEST_PACKAGES = ("pytest", "iniconfig", "packaging", "pluggy", "pygments")
PIPELINE, FAULTS = "tests/pipeline", "tests/faults"
RUNNER = (PIPELINE, FAULTS)
PROJECTS = ("api", "project", "release", "repair")
"""folders below tests/pipeline of tests that run recipes from one end to the other, as the files beside them do"""
STAGES = "tests/stages"
# as measured, of all tests; the order in which two lanes end at about the same time
LONGEST_FIRST = ("cairo", "wasm", "akida", "torch", "ezkl", "onnx", "zml", "report", "serve")


def main() -> int:
    with tempfile.TemporaryDirectory() as reports:
        return run_all(sys.argv[1:], Path(reports))


def run_all(arguments: list[str], reports: Path) -> int:
    """What pytest's arguments select, group by group; reports go to a folder. The exit code."""
    selected = _select(arguments, reports / "selected.json")
    options = without(arguments, selected["paths"])
    runner = runner_paths(selected["paths"])
    stages = stage_groups(selected["paths"], selected["files"])
    codes = {}
    # two cores, one thread each: the runner's tests beside those of the stages, and what is left in both lanes
    with ThreadPoolExecutor(max_workers=2) as lanes:
        shown, waiting = None, {}
        for title, paths in runner_groups(runner).items():
            reported = _reported(options, reports, title)
            if shown is None:
                print(f"\n== tests of {title}", flush=True)
                shown = title, lanes.submit(_pytest, sys.executable, paths, reported, {})
            else:
                waiting[lanes.submit(_runner_group, title, paths, reported)] = title
        beside = pytest_folder() if stages else ROOT
        waiting |= {
            lanes.submit(_stage_group, name, beside, files, _reported(options, reports, name)): name
            for name, files in sorted(stages.items(), key=lambda group: _turn(group[0]))
        }
        if shown:
            codes[shown[0]] = shown[1].result().returncode
        for group in as_completed(waiting):
            said, codes[waiting[group]] = group.result()
            print(said, flush=True)
    # a choice of markers may leave a group empty; that is no failure, and says so itself
    failed = {name: code for name, code in codes.items() if code not in (0, ExitCode.NO_TESTS_COLLECTED)}
    if failed:
        print(f"failed: {', '.join(failed)}")
    if all(code == ExitCode.NO_TESTS_COLLECTED for code in codes.values()):
        print("no test is selected")
        return int(ExitCode.NO_TESTS_COLLECTED)
    print(summary(reports), flush=True)
    return next(iter(failed.values()), 0)


def _select(arguments: list[str], file: Path) -> dict[str, Any]:
    """Which of the arguments are paths, and the files of stages' tests that they all select."""
    command = [sys.executable, "tests/selection.py", str(file), *arguments]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    selected: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not selected.get("collected") or done.returncode in (
        ExitCode.USAGE_ERROR,
        ExitCode.INTERNAL_ERROR,
    ):
        # wrong arguments, or such as ask for help
        print(done.stdout + done.stderr, flush=True)
        sys.exit(done.returncode)
    return selected


def without(arguments: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The arguments that are no paths."""
    left = Counter(paths)
    options = []
    for argument in reversed(arguments):
        if left[argument]:
            left[argument] -= 1
        else:
            options.append(argument)
    return options[::-1]


def runner_paths(paths: Sequence[str]) -> list[str]:
    """What of the paths, all if there are none, is no test of a stage."""
    if not paths:
        return [*RUNNER]
    outside = [path for path in paths if not _absolute(path).is_relative_to(ROOT / STAGES)]
    chosen: list[str] = []
    for path in outside:
        # of a folder further up, what lies in it and is no test of a stage
        chosen += [folder for folder in RUNNER if (ROOT / folder).is_relative_to(_absolute(path))] or [path]
    return chosen


def runner_groups(paths: Sequence[str]) -> dict[str, list[str]]:
    """The runner's tests in groups, each for a process of its own, so that the long ones run side by side."""
    groups: dict[str, list[str]] = {"the runner": []}
    for path in paths:
        inside = [*(ROOT / PIPELINE).glob("[!_]*/"), *(ROOT / PIPELINE).glob("test_*.py")] if path == PIPELINE else []
        for one in sorted(found.relative_to(ROOT).as_posix() for found in inside) or [path]:
            file = _absolute(one)
            parts = file.relative_to(ROOT / PIPELINE).parts if file.is_relative_to(ROOT / PIPELINE) else ()
            title = "the runner"
            if file.is_relative_to(ROOT / FAULTS):
                title = "planted faults"
            elif parts and (parts[0] in PROJECTS or parts[0].endswith(".py")):
                title = "whole projects"
            groups.setdefault(title, []).append(one)
    return {title: chosen for title, chosen in groups.items() if chosen}


def stage_groups(paths: Sequence[str], files: Sequence[str]) -> dict[str, list[str]]:
    """What each environment runs: of the selected files, those the paths name, or the tests named in them."""
    groups: dict[str, list[str]] = {}
    for file in files:
        environment = environment_of(ROOT / file)
        if not environment:
            sys.exit(f"{file}: its first line must name its environment, as '# environment: torch'")
        above = [path for path in paths if (ROOT / file).is_relative_to(_absolute(path))]
        named = [path for path in above if "::" in path]
        groups.setdefault(environment, []).extend(named if named == above and named else [file])
    return groups


def _absolute(path: str) -> Path:
    """The file or folder that a path of pytest is of, which may go on to a test's name."""
    return Path(os.path.normpath(ROOT / path.partition("::")[0]))


def summary(reports: Path) -> str:
    """The tests of all groups, counted from pytest's reports in JUnit's format."""
    counted: Counter[str] = Counter()
    for report in reports.glob("*.xml"):
        for suite in ElementTree.parse(report).iter("testsuite"):
            counted.update({kind: int(suite.get(kind, 0)) for kind in ("tests", "failures", "errors", "skipped")})
    failed = counted["failures"] + counted["errors"]
    return f"{counted['tests'] - failed - counted['skipped']} passed, {failed} failed, {counted['skipped']} skipped"


def _reported(chosen: list[str], reports: Path, name: str) -> list[str]:
    return [*chosen, f"--junitxml={reports / name}.xml"]


def _turn(name: str) -> tuple[int, str]:
    """Those that take long come first, and one that is not known."""
    return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else -1, name


def _stage_group(name: str, beside: Path, files: list[str], chosen: list[str]) -> tuple[str, int]:
    """What the tests of one environment say, and their exit code."""
    said = [f"\n== tests in the environment '{name}'"]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(beside)])
    variables = {**tool_variables(ROOT), "PYTHONPATH": path}
    environment = environments.ensure(ROOT, name, said.append)
    done = _pytest(str(environment.python), files, chosen, variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return "\n".join([*said, done.stdout]), done.returncode


def _runner_group(title: str, paths: list[str], chosen: list[str]) -> tuple[str, int]:
    """What a group of the runner's tests says, and their exit code."""
    done = _pytest(sys.executable, paths, chosen, {}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return f"\n== tests of {title}\n{done.stdout}", done.returncode


def _pytest(
    python: str, files: list[str], chosen: list[str], variables: dict[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "--quiet", *chosen, *files]
    # one thread each: the machines these run on are small and shared
    environment = {**os.environ, **SWITCHES, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, **options)


def pytest_folder() -> Path:
    """Where pytest lies that stages' environments do not have."""
    pins = (ROOT / "envs" / "dev.txt").read_text(encoding="utf-8").splitlines()
    wanted = [pin for pin in pins if pin.partition("==")[0] in PYTEST_PACKAGES]
    folder = ROOT / ".recast" / f"pytest-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:12]}"
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        building = folder.with_name(f"{folder.name}.{os.getpid()}")
        options = index_options(os.environ)
        install = [find_uv(), "pip", "install", "--no-config", "--quiet", "--no-deps", "--target"]
        variables = {**os.environ, **options.variables}
        subprocess.run([*install, str(building), *options.arguments, *wanted], check=True, env=variables)
        if folder.exists():
            shutil.rmtree(building)
        else:
            building.rename(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
