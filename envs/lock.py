"""Rewrites the pin files: `python envs/lock.py [NAME ...]` compiles envs/NAME.in into envs/NAME.txt.

A pin file is a full lock of every package for one Python on Linux x86-64, the platform Recast is
tested on; a marker stays where a package is not for every machine of that kind. Run it to upgrade;
commit both files; the stages of that environment then re-run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pipeline.environments import find_uv, index_options  # noqa: E402 - needs the path set above

# CUDA comes with the build of torch that the user's device asks for, not with the pins
LEFT_OUT = re.compile(r"^(nvidia-|cuda-|triton)")
HEADER = re.compile(r"^#\s*(\w+):\s*(.+)$", re.MULTILINE)


def lock(name: str) -> None:
    source = HERE / f"{name}.in"
    header = dict(HEADER.findall(source.read_text(encoding="utf-8")))
    major, minor = header["python"].split(".")
    everywhere = (
        f"python_full_version < '{major}.{int(minor) + 1}' and platform_machine == 'x86_64' and sys_platform == 'linux'"
    )
    options = index_options(os.environ)
    with tempfile.TemporaryDirectory() as place:
        # uv reads the platform to solve for from a project file only
        project = f'[project]\nname = "pins"\nversion = "0"\n\n[tool.uv]\nenvironments = ["{everywhere}"]\n'
        # what a package asks for and our use of it does not need
        project += f"exclude-dependencies = {header.get('exclude', '').split()}\n"
        Path(place, "pyproject.toml").write_text(project, encoding="utf-8")
        command = [find_uv(), "pip", "compile", "--universal", "--python-version", header["python"], "--quiet"]
        command += ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", *options.arguments]
        environment = {**os.environ, **options.variables}
        compiled = subprocess.run([*command, str(source)], cwd=place, env=environment, capture_output=True, text=True)
    if compiled.returncode:
        sys.exit(f"{name}: {compiled.stderr}")
    lines = []
    for line in compiled.stdout.splitlines():
        pin, _, marker = line.partition(" ; ")
        if not LEFT_OUT.match(pin):
            # a local version (+cpu) is the choice of an index; the pin is the public version
            pin = re.sub(r"\+\w+$", "", pin)
            lines.append(pin if marker in ("", everywhere) else f"{pin} ; {marker}")
    head = [f"# {key}: {header[key]}" for key in ("python", "size", "preload") if key in header]
    note = f"# Every package, pinned by `python envs/lock.py {name}` from {name}.in: edit that, not this."
    (HERE / f"{name}.txt").write_text("\n".join([*head, note, *lines]) + "\n", encoding="utf-8")
    print(f"envs/{name}.txt: {len(lines)} packages")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.in")):
        lock(chosen)
