"""The page of `recast report`: the facts go to a process that draws them, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.git import git_or_none
from recast.pipeline.core.pins import pinned
from recast.pipeline.core.version import described
from recast.pipeline.planning.plan import Plan
from recast.pipeline.processes import environments
from recast.pipeline.processes.plugin_code import import_path
from recast.pipeline.processes.tool_variables import CACHE, tool_variables
from recast.pipeline.reporting import comparison
from recast.pipeline.reporting.comparison import Comparison
from recast.pipeline.reporting.facts import RecipeFacts

ENVIRONMENT = "report"
FILE = "report.html"
"""where the page is written unless something else is said, below the repository"""
DVC_TEMPLATE = "dvc_plots.html"
_DVC_OPTION = "plots.html_template"
_MODULE = "recast.stages.reporting.page"


def write(
    root: Path,
    plan: Plan,
    recipes: Sequence[RecipeFacts],
    compared: Sequence[Comparison],
    to: Path,
    say: Callable[[str], None],
    dvc_plots: bool = False,
) -> Path:
    """Write the page of these recipes, at once or not at all; where it is. `to`: an absolute path.

    `dvc_plots`: let `dvc plots show` draw without a network as well, by a setting of this clone.
    Raises RecastError if it cannot be written, or the process that draws it fails.
    """
    if to.is_dir() or not to.parent.is_dir():
        raise RecastError(f"{to} is no place for a file", "name a file in a folder that is there")
    environment = environments.ensure(root, ENVIRONMENT, say)
    fresh = to.with_name(f".{to.name}.{os.getpid()}.new")
    job = {
        "root": str(root),
        "out": str(fresh),
        "cache": str(root / CACHE / ENVIRONMENT),
        "dvc_plots": str(root / CACHE / ENVIRONMENT / DVC_TEMPLATE) if dvc_plots else "",
        "about": _about(root),
        # by which links lead from the page into the project
        "prefix": Path(os.path.relpath(root, to.parent)).as_posix() + "/",
        "recipes": [_as_json(one) for one in recipes],
        "compared": comparison.as_json(compared),
        "environments": _environments(root, recipes),
    }
    plugins = sorted({name for stage in plan.stages.values() for name in stage.plugins})
    command = [str(environment.python), "-P", "-m", _MODULE]
    variables = {**os.environ, **tool_variables(root), "PYTHONPATH": import_path(root, plugins)}
    try:
        done = subprocess.run(
            command, cwd=root, env=variables, input=json.dumps(job), capture_output=True, encoding="utf-8"
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise RecastError(
                f"the report cannot be drawn: {said[-1] if said else f'its process ended with {done.returncode}'}",
                "run the recipe again if a file is named, else report it",
            )
        fresh.replace(to)
    finally:
        fresh.unlink(missing_ok=True)
    if dvc_plots:
        _set_dvc_template(root, say)
    return to


def _set_dvc_template(root: Path, say: Callable[[str], None]) -> None:
    """Name the template in .dvc/config.local, which is not committed, unless the user has one of their own."""
    ours = f"../{CACHE}/{ENVIRONMENT}/{DVC_TEMPLATE}"  # DVC takes it from .dvc/ on
    asked = [sys.executable, "-m", "dvc", "config"]
    told = {"cwd": root, "stdin": subprocess.DEVNULL, "capture_output": True, "encoding": "utf-8"}
    has = subprocess.run([*asked, _DVC_OPTION], **told).stdout.strip()  # type: ignore[call-overload]
    if has and has != ours:
        say(f"{_DVC_OPTION} is {has} in DVC's configuration, and stays so")
        return
    done = subprocess.run([*asked, "--local", _DVC_OPTION, ours], **told)  # type: ignore[call-overload]
    if done.returncode:
        raise RecastError(f"DVC does not take {_DVC_OPTION}: {done.stderr.strip()}", "set it by 'dvc config'")
    say("'dvc plots show' draws without a network in this clone")


def _as_json(recipe: RecipeFacts) -> dict[str, Any]:
    targets = [{**asdict(target), "verified": target.is_verified} for target in recipe.targets]
    return {**asdict(recipe), "targets": targets}


def _about(root: Path) -> dict[str, Any]:
    now = datetime.now(UTC).astimezone()
    return {
        "project": root.name,
        "made": now.strftime("%Y-%m-%d %H:%M %Z"),
        "recast": described(),
        "commit": _commit(root),
    }


def _commit(root: Path) -> str:
    """The commit of the project, and whether files were changed since; empty where git knows of none."""
    commit, dash, _ = (git_or_none(root, "describe", "--always", "--dirty", "--exclude=*") or "").strip().partition("-")
    return f"{commit}{', with changes' if dash else ''}"


def _environments(root: Path, recipes: Sequence[RecipeFacts]) -> list[Mapping[str, Any]]:
    """Every environment of these recipes' stages, with what is pinned in it."""
    names = dict.fromkeys(stage.environment for recipe in recipes for stage in recipe.stages)
    found: list[Mapping[str, Any]] = []
    for name in names:
        environment = environments.find(root, name)
        texts = [layer.pins.read_text(encoding="utf-8") for layer in environment.layers]
        packages = [pin.partition(" ;")[0].strip() for text in texts for pin in pinned(text)]
        found.append({"name": name, "python": environment.python_version, "packages": packages})
    return found
