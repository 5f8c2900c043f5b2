"""Runs the tests, each file in the environment it is for.

Tests of the runner run in .venv. A test of a stage names its environment on its first line
(`# environment: torch`) and runs inside it: it calls the stage's code on the real packages. Pytest
is no part of those environments, so it is laid beside them in .recast/.
Extra arguments go to pytest: `python tests/run.py -m "not slow" -k train`. The last line counts the tests of all
environments: the last group alone may have had none to run.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline import environments  # noqa: E402 - needs the path set above
from pipeline.tool_variables import SWITCHES, tool_variables  # noqa: E402

PYTEST_PACKAGES = ("pytest", "iniconfig", "packaging", "pluggy", "pygments")
NO_TESTS_COLLECTED = 5


def main() -> int:
    with tempfile.TemporaryDirectory() as reports:
        return run_all(sys.argv[1:], Path(reports))


def run_all(chosen: list[str], reports: Path) -> int:
    """Every group's tests, with pytest's arguments `chosen`; their reports go to a folder. The exit code."""
    # the runner's tests beside those of the stages, one environment after the other: two cores, one thread each
    with ThreadPoolExecutor(max_workers=1) as stages:
        waiting = {
            name: stages.submit(_stage_group, name, files, _reported(chosen, reports, name))
            for name, files in sorted(_stage_tests().items())
        }
        print("\n== tests of the runner", flush=True)
        runner = _reported(chosen, reports, "runner")
        codes = {"the runner": _pytest(sys.executable, ["tests/pipeline"], runner, {}).returncode}
        for name, group in waiting.items():
            said, codes[name] = group.result()
            print(said, flush=True)
    # a choice of markers may leave a group empty; that is no failure, and says so itself
    failed = {name: code for name, code in codes.items() if code not in (0, NO_TESTS_COLLECTED)}
    if failed:
        print(f"failed: {', '.join(failed)}")
    print(summary(reports), flush=True)
    return next(iter(failed.values()), 0)


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


def _stage_group(name: str, files: list[str], chosen: list[str]) -> tuple[str, int]:
    """What the tests of one environment say, and their exit code."""
    said = [f"\n== tests in the environment '{name}'"]
    beside = {**tool_variables(ROOT), "PYTHONPATH": os.pathsep.join([str(ROOT), str(_pytest_folder())])}
    environment = environments.ensure(ROOT, name, said.append)
    done = _pytest(str(environment.python), files, chosen, beside, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return "\n".join([*said, done.stdout]), done.returncode


def _stage_tests() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests" / "stages").rglob("test_*.py")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        match = re.fullmatch(r"# environment: (\w+)", first)
        if not match:
            sys.exit(f"{path.relative_to(ROOT)}: its first line must name its environment, as '# environment: torch'")
        found.setdefault(match[1], []).append(path.relative_to(ROOT).as_posix())
    return found


def _pytest(
    python: str, files: list[str], chosen: list[str], variables: dict[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "--quiet", *chosen, *files]
    # one thread each: the machines these run on are small and shared
    environment = {**os.environ, **SWITCHES, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, **options)


def _pytest_folder() -> Path:
    pins = (ROOT / "envs" / "dev.txt").read_text(encoding="utf-8").splitlines()
    wanted = [pin for pin in pins if pin.partition("==")[0] in PYTEST_PACKAGES]
    folder = ROOT / ".recast" / f"pytest-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:12]}"
    if not folder.exists():
        building = folder.with_name(f"{folder.name}.{os.getpid()}")
        options = environments.index_options(os.environ)
        install = [environments.find_uv(), "pip", "install", "--no-config", "--quiet", "--no-deps", "--target"]
        variables = {**os.environ, **options.variables}
        subprocess.run([*install, str(building), *options.arguments, *wanted], check=True, env=variables)
        if folder.exists():
            shutil.rmtree(building)
        else:
            building.rename(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
