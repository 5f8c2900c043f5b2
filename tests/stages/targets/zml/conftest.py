"""The folders that `op_models` emits, for tests in an environment without torch."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from recast.stages.targets.zml.check import toolchain

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `op_models` emits: it needs torch, and so runs in the environment that has it."""
    folder = tmp_path_factory.mktemp("emitted")
    find = (
        "import pathlib, recast.pipeline.processes.environments as e;"
        "print(e.ensure(pathlib.Path(), 'torch', print).python)"
    )
    # the environment's own pytest must not be seen by another Python
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    found = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", find], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    python = found.stdout.splitlines()[-1]
    command = [python, "-m", "tests.lib.zml.op_models", str(folder)]
    subprocess.run(command, cwd=ROOT, env=variables, check=True)
    return folder


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile in a tenth of the time, to a program that gives the same results more slowly."""
    cache = tmp_path_factory.getbasetemp() / "zig"
    monkeypatch.setattr(toolchain, "OPTIMISE", "Debug")
    monkeypatch.setattr(toolchain, "library_cache", lambda _: cache)
