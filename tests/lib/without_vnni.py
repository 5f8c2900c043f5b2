"""Runs Python on an x86 processor with AVX2 and without VNNI, which qemu's user mode emulates on any x86-64 machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROCESSOR = "Haswell"


def qemu() -> str:
    """The emulator on PATH. With CI set, a missing one is a failure and no skip."""
    found = shutil.which("qemu-x86_64")
    if platform.machine() != "x86_64" or found is None:
        message = "there is no qemu-x86_64 on PATH (Debian: apt-get install qemu-user)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


def python(*arguments: str, processor: str = PROCESSOR) -> str:
    """What this environment's Python prints when it runs with these arguments on that processor."""
    command = [qemu(), "-cpu", processor, sys.executable, *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
