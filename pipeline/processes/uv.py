"""uv, which builds environments: where it is, and what it is told of the machine's package indexes.

Imported before anything is installed but uv and filelock (`envs/install.py`).
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recast.pipeline.core.errors import RecastError


def find_uv() -> str:
    """The uv executable: the one beside this Python, or one on PATH. Raises RecastError if there is none."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if not found:
        raise RecastError("uv is not installed, and environments are built with it", "run 'make setup'")
    return found


@dataclass(frozen=True)
class IndexOptions:
    """What uv is told of the machine's package indexes."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    has_find_links: bool


def index_options(environment: Mapping[str, str]) -> IndexOptions:
    """The machine's pip configuration as options of uv, which does not read it itself.

    uv's own variables win: where one is set, pip's counterpart is left out.
    """
    pip = dict(_pip_config())
    arguments: list[str] = []
    has_find_links = bool(environment.get("UV_FIND_LINKS"))
    if not has_find_links:
        for place in pip.get("find-links", []):
            arguments += ["--find-links", place]
            has_find_links = True
    if not any(environment.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
        for url in pip.get("index-url", [])[:1]:
            arguments += ["--default-index", url]
    if not any(environment.get(name) for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL")):
        extra = pip.get("extra-index-url", [])
        for url in extra:
            arguments += ["--index", url]
        if extra and not environment.get("UV_INDEX_STRATEGY"):
            # as pip does: the best version of any index, not the first index that knows the name; what a pin may be
            # is known by its hashes
            arguments += ["--index-strategy", "unsafe-best-match"]
    for host in pip.get("trusted-host", []):
        arguments += ["--allow-insecure-host", host]
    variables = {}
    if (certificates := pip.get("cert")) and not environment.get("SSL_CERT_FILE"):
        variables["SSL_CERT_FILE"] = certificates[0]
    return IndexOptions(tuple(arguments), variables, has_find_links)


def _pip_config() -> Iterator[tuple[str, list[str]]]:
    """pip's settings by name, the strongest source last."""
    commands = [[sys.executable, "-m", "pip"], [shutil.which("pip3") or "pip3"]]
    for command in commands:
        try:
            listed = subprocess.run([*command, "config", "list"], capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if listed.returncode == 0:
            lines = [line.partition("=") for line in listed.stdout.splitlines() if "=" in line]
            # `:env:` settings beat those of `install`, which beat those of `global`
            rank = {"global": 0, "install": 1, ":env:": 2}
            for scope in sorted(rank, key=lambda name: rank[name]):
                for key, _, value in lines:
                    if key.startswith(f"{scope}."):
                        yield key.removeprefix(f"{scope}."), str(ast.literal_eval(value)).split()
            return
