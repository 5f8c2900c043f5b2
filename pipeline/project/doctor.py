"""`recast doctor`: what running recipes needs on this machine, looked at; each finding with how to mend it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from recast.pipeline.core.errors import RecastError, RecipeError
from recast.pipeline.core.layout import (
    OLD_ENVIRONMENTS,
    USER_FOLDER,
    environments_folder,
    find_root,
    launcher,
    of_another_clone,
)
from recast.pipeline.core.version import described
from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.dvcfile_parts import DVCFILE
from recast.pipeline.planning.partial_plan import make_sound_plan
from recast.pipeline.planning.plan import Plan
from recast.pipeline.processes import environments, package_lock
from recast.pipeline.processes.environment import Environment
from recast.pipeline.processes.uv import find_uv
from recast.pipeline.recipes.recipe import Recipes
from recast.pipeline.sharing import remote
from recast.pipeline.sharing.checks import Check, State, local_checks

PROGRAM = re.compile(r"program: (?P<program>[\w-]+), where (?P<stage>\w+) has (?P<param>\w+): (?P<value>\w+)")
"""in the head of a stage set: a program that a stage looks for on PATH if a param has that value"""
_UNITS = {"MB": 1e6, "GB": 1e9}
_SPARE = 2e9
"""bytes for results and their cache, beside environments that are not built yet"""


def examine(here: Path) -> Iterator[Check]:
    """Every check, for the project that the current folder lies in; with no project, those of the machine alone."""
    yield Check("recast", State.OK, described().removeprefix("recast "))
    try:
        root = find_root()
    except RecastError as error:
        yield Check("project", State.PROBLEM, error.message, error.remedy)
        yield from _machine(here)
        return
    yield from _machine(root)
    found, plan = _recipes(root)
    yield found
    yield from _own_packages(root)
    yield _command(root)
    yield from _sharing(root)
    if plan is None:
        return
    yield _dvc_file(root, plan)
    try:
        folder = environments_folder()
    except RecastError as error:
        yield Check("environments", State.PROBLEM, error.message, error.remedy)
        return
    yield from _kept(root, folder)
    wanted = [environments.find(root, name) for name in sorted({one.environment for one in plan.stages.values()})]
    yield from _pythons(wanted)
    yield from _environments(wanted)
    yield _space(folder, wanted)
    yield from _programs(root, plan)


def _machine(folder: Path) -> Iterator[Check]:
    here = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", State.OK, f"{here} at {sys.executable}")
    git = shutil.which("git")
    inside = git and _said("git", "-C", str(folder), "rev-parse", "--is-inside-work-tree") == "true"
    if not git:
        yield Check("git", State.PROBLEM, "not found on PATH", "install git")
    elif not inside:
        yield Check("git", State.PROBLEM, f"{folder} lies in no git repository", "run 'git init' in it")
    else:
        yield Check("git", State.OK, (_said("git", "--version") or "").removeprefix("git version "))
    try:
        yield Check("uv", State.OK, find_uv())
    except RecastError as error:
        yield Check("uv", State.PROBLEM, error.message, error.remedy)


def _said(*command: str) -> str | None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _recipes(root: Path) -> tuple[Check, Plan | None]:
    call = launcher(root)
    try:
        plan = make_sound_plan(root, ())
    except RecipeError as error:
        count = len(error.problems)
        found = f"no recipe is sound; {count} problem{'s' if count > 1 else ''}"
        return Check("recipes", State.PROBLEM, found, f"run '{call} check', which shows them"), None
    except RecastError as error:
        return Check("recipes", State.PROBLEM, error.message, error.remedy), None
    if plan.problems:
        names = f"broken: {', '.join(plan.broken)}" if plan.broken else "a stage set is broken that no recipe uses"
        return Check("recipes", State.PROBLEM, names, f"run '{call} check', which shows how"), plan
    return Check("recipes", State.OK, f"{len(plan.recipes)}, all sound"), plan


def _own_packages(root: Path) -> Iterator[Check]:
    """Whether the packages that params.yaml and recipes ask for are locked."""
    try:
        asked = package_lock.asked(root)
    except RecastError:
        return  # said already
    for file, own in sorted(asked.items()):
        if problem := own.problem(root):
            yield Check("requirements", State.PROBLEM, problem.message, problem.remedy)
        else:
            yield Check("requirements", State.OK, f"locked in {file}")


def _command(root: Path) -> Check:
    """Whether what dvc.yaml and git call can be found by them."""
    call = launcher(root)
    name = "command"
    if problem := of_another_clone(root):
        return Check(name, State.PROBLEM, problem.message, problem.remedy)
    if call == "recast" and not shutil.which("recast"):
        return Check(
            name, State.PROBLEM, "'recast' is not on PATH, where DVC looks for it", "activate where it is installed"
        )
    return Check(name, State.OK, f"'{call}' is what DVC and git are to call")


def _sharing(root: Path) -> Iterator[Check]:
    if not (root / ".dvc").is_dir():
        yield Check("dvc", State.PROBLEM, "DVC is not set up here", f"run '{launcher(root)} init'")
        return
    name = "dvc"
    if shutil.which("dvc"):
        yield Check(name, State.OK, metadata.version("dvc"))
    else:
        yield Check(
            name,
            State.WARNING,
            f"{metadata.version('dvc')}, but 'dvc' is not on PATH",
            f"to type it, put {Path(sys.executable).parent} on PATH",
        )
    try:
        found = local_checks(root)
        has_remote = bool(remote.settings(root).remote)
    except RecastError as error:
        yield Check("sharing", State.PROBLEM, error.message, error.remedy)
        return
    for check in found:
        # who works alone needs neither; `recast share` is about a team
        alone = check.name == "merge driver" or (check.name == "default remote" and not has_remote)
        if alone and check.state is State.PROBLEM:
            check = replace(check, state=State.WARNING)
        yield replace(check, fixable=False)


def _dvc_file(root: Path, plan: Plan) -> Check:
    try:
        current = dvcfile.is_current(root, plan)
    except RecastError as error:
        return Check(DVCFILE, State.PROBLEM, error.message, error.remedy)
    if current:
        return Check(DVCFILE, State.OK, "matches the recipes")
    remedy = f"run '{launcher(root)} sync'; a run does it by itself"
    return Check(DVCFILE, State.WARNING, "does not match the recipes", remedy)


def _pythons(wanted: Iterable[Environment]) -> Iterator[Check]:
    """The Pythons of environments that are still to be built."""
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    missing = {one.python_version for one in wanted if not one.is_built} - {this}
    for version in sorted(missing):
        try:
            asked = [find_uv(), "python", "find", "--no-python-downloads", "--no-project", version]
        except RecastError:
            return  # said already
        if place := _said(*asked):
            yield Check(f"python {version}", State.OK, place)
        else:
            remedy = f"install it, for example with 'uv python install {version}'"
            yield Check(f"python {version}", State.PROBLEM, "not found, and environments need it", remedy)


def _environments(wanted: Iterable[Environment]) -> Iterator[Check]:
    for one in wanted:
        state = "built" if one.is_built else "not built yet; the first run that needs it does"
        yield Check(f"environment {one.name}", State.OK, f"{state} ({one.size})")


def _kept(root: Path, folder: Path) -> Iterator[Check]:
    name = "environments"
    if os.access(_existing(folder), os.W_OK):
        yield Check(name, State.OK, f"kept in {folder}")
    else:
        found = f"kept in {folder}, which cannot be written"
        yield Check(name, State.PROBLEM, found, f"set {USER_FOLDER} to a folder that can be")
    if (root / OLD_ENVIRONMENTS).exists():
        found = f"{OLD_ENVIRONMENTS} is of an earlier version, and no longer used"
        yield Check("old environments", State.WARNING, found, f"run '{launcher(root)} env prune' to delete it")


def _existing(place: Path) -> Path:
    while not place.exists():
        place = place.parent
    return place


def _space(folder: Path, wanted: Iterable[Environment]) -> Check:
    place = _existing(folder)
    free = shutil.disk_usage(place).free
    needed = sum(_bytes(one.size) for one in wanted if not one.is_built) + _SPARE
    found = f"{free / 1e9:.1f} GB free at {place}, {needed / 1e9:.1f} GB wanted"
    if free < needed:
        return Check(
            "disk", State.PROBLEM, found, f"free some, by 'recast env prune' for example, or set {USER_FOLDER}"
        )
    return Check("disk", State.OK, found)


def _bytes(size: str) -> float:
    number, _, unit = size.partition(" ")
    return float(number) * _UNITS[unit] if unit in _UNITS else 0.0


def _programs(root: Path, plan: Plan) -> Iterator[Check]:
    users: dict[str, list[str]] = {}
    recipes = Recipes(root)
    for recipe in plan.recipes.values():
        for target, stages in recipe.targets.items():
            said = recipes.target(target)
            for line in said.document.head if said else ():
                found = PROGRAM.fullmatch(line)
                if found and (id := stages.get(found["stage"])):
                    value = plan.stages[id].params.get(found["param"])
                    if found["value"] in (value if isinstance(value, list | tuple) else [str(value).lower()]):
                        users.setdefault(found["program"], []).append(f"{recipe.name}/{target}")
    for program, needing in sorted(users.items()):
        what = f"program {program}"
        if place := shutil.which(program):
            yield Check(what, State.OK, place)
        else:
            wanting = ", ".join(dict.fromkeys(needing))
            yield Check(what, State.PROBLEM, f"not found on PATH; wanted by {wanting}", f"install {program}")
