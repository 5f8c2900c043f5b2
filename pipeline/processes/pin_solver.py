"""Solves requirements with uv: every package they bring, pinned, for one Python on Linux x86-64."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from recast.pipeline.core.errors import RecastError
from recast.pipeline.processes.uv import find_uv, index_options

PYPI = "https://pypi.org/simple"


def solve(
    python: str,
    requirements: Iterable[str],
    *,
    exclude: Iterable[str] = (),
    beside: Sequence[str] = (),
    before: Iterable[str] = (),
    wheels_only: bool = False,
) -> list[str]:
    """The pins, sorted by name; a marker stays where a package is not for every machine of that kind.

    `exclude`: packages that others ask for and that are left out. `beside`: pins that are installed already: these
    packages have just these versions, and what they ask for themselves is not looked at. `before`: pins that are kept
    where they still will do. `wheels_only`: nothing is taken that would have to be built, which runs its code.

    Raises RecastError, with what uv says of it, if the requirements cannot be met.
    """
    major, minor = python.split(".")
    everywhere = (
        f"python_full_version < '{major}.{int(minor) + 1}' and platform_machine == 'x86_64' and sys_platform == 'linux'"
    )
    options = index_options(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # uv reads the platform to solve for, and what packages are to be taken to ask for, from a project file only
        names = [pin.partition("==")[0] for pin in beside]
        asking_for_nothing = [
            f'\n[[tool.uv.dependency-metadata]]\nname = "{name}"\nrequires-dist = []\n' for name in names
        ]
        (place / "pyproject.toml").write_text(
            f'[project]\nname = "pins"\nversion = "0"\n\n[tool.uv]\nenvironments = ["{everywhere}"]\n'
            f"exclude-dependencies = {json.dumps(list(exclude))}\n{''.join(asking_for_nothing)}",
            encoding="utf-8",
        )
        for name, lines in (("wanted.in", requirements), ("beside.txt", beside), ("pins.txt", before)):
            (place / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        command = [find_uv(), "pip", "compile", "--universal", "--python-version", python, "--quiet"]
        command += ["--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links", *options.arguments]
        command += ["--only-binary", ":all:"] if wheels_only else []
        command += ["--constraints", "beside.txt", "--output-file", "pins.txt", "wanted.in"]
        variables = {**os.environ, **options.variables}
        done = subprocess.run(
            command, cwd=place, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise RecastError(done.stderr.strip())
        solved = (place / "pins.txt").read_text(encoding="utf-8")
    pins = []
    for line in solved.splitlines():
        pin, _, marker = line.partition(" ; ")
        # a local version (+cpu) is the choice of an index; the pin is the public version
        pin = re.sub(r"\+\w+$", "", pin)
        pins.append(pin if marker in ("", everywhere) else f"{pin} ; {marker}")
    return pins


def hashes(python: str, pins: Iterable[str]) -> str:
    """The pins, each with the SHA-256 of every file that PyPI has of it, for every platform, as uv and pip read them.

    From PyPI alone, whatever indexes the machine has: what another one gives is then known to be the same, or refused.
    Raises RecastError, with what uv says of it, for a pin that PyPI has not.
    """
    command = [find_uv(), "pip", "compile", "--no-config", "--no-deps", "--universal", "--generate-hashes", "--quiet"]
    command += ["--python-version", python, "--no-annotate", "--no-header", "--default-index", PYPI, "-"]
    chosen_indexes = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX_STRATEGY", "UV_NO_INDEX")
    variables = {name: value for name, value in os.environ.items() if name not in chosen_indexes}
    variables |= index_options(os.environ).variables
    done = subprocess.run(command, input="\n".join(pins), env=variables, capture_output=True, text=True)
    if done.returncode:
        raise RecastError(done.stderr.strip())
    return done.stdout
