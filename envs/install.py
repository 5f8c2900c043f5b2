"""Installs envs/NAME.txt, and Recast itself, into the environment of the Python that runs this.

`python envs/install.py recast`. Needs uv and filelock there; the Makefile sees to that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from recast.pipeline.core.errors import RecastError  # noqa: E402 - needs the path set above
from recast.pipeline.core.pins import constraints  # noqa: E402
from recast.pipeline.processes.environments import device, note_clone  # noqa: E402
from recast.pipeline.processes.uv import find_uv, index_options  # noqa: E402


def install(name: str) -> int:
    print(f"installing the packages of envs/{name}.txt", flush=True)
    options = index_options(os.environ)
    base = [find_uv(), "pip", "install", "--no-config", "--python", sys.executable, "--no-deps", "--quiet"]
    base += options.arguments
    variables = {**os.environ, **options.variables}
    pins = ROOT / "envs" / f"{name}.txt"
    for what in (
        ["--compile-bytecode", "--requirements", str(pins), *constraints(pins)],
        ["--editable", str(ROOT)],
    ):
        if code := subprocess.run([*base, *what], env=variables).returncode:
            return code
    if name == "recast":
        note_clone(ROOT)
    device(ROOT)  # DVC tracks the file that says it, so it must be there before the first `dvc repro`
    return 0


if __name__ == "__main__":
    try:
        sys.exit(install(sys.argv[1]))
    except RecastError as error:
        sys.exit(f"recast: {error}")
