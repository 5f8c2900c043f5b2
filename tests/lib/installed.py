"""Recast as a wheel installs it: the wheel, and an environment of its own, made once for all that look at them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recast.pipeline.processes.uv import find_uv, index_options
from tests.lib.copied import ROOT


def uv(*arguments: str | Path) -> None:
    options = index_options(os.environ)
    command = [find_uv(), *map(str, arguments), *options.arguments]
    subprocess.run(command, check=True, env={**os.environ, **options.variables}, cwd=ROOT)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--no-config", "--wheel", "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own that has the wheel and its pins."""
    place = tmp_path_factory.mktemp("wheel") / "installed here"
    uv("venv", "--quiet", "--no-config", "--python", sys.executable, place)
    into = ("pip", "install", "--quiet", "--no-config", "--no-deps", "--python", place / "bin/python")
    uv(*into, "--requirements", ROOT / "envs/recast.txt", wheel)
    return place
