"""Where things lie in a repository of recipes, and in Recast itself; importing it costs nothing."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from recast.pipeline.core.errors import RecastError
from recast.stages import IS_INSTALLED, LAUNCHER
from recast.stages import PACKAGE as PACKAGE

RECIPES = "recipes"
TARGETS = f"{RECIPES}/targets"
DEFAULTS = "params.yaml"
ARTIFACTS = "artifacts"
METRICS = "metrics.json"
"""in every stage's output"""
PINS = "envs"
"""the pin files of the environments"""
DEVICE = "device.txt"
"""What `device: auto` means on this machine: one word, git-ignored, a dependency of the stages that say auto."""
DEVICES = ("cpu", "cuda", "mps")
OLD_ENVIRONMENTS = ".recast/envs"
"""where earlier versions kept the environments of each clone"""
USER_FOLDER = "RECAST_HOME"
"""the variable that names the folder which a user's repositories share"""
RECORD = "recast.lock"
"""which plugins the recipes use, and what their code is: committed, and tracked by DVC"""
LOCAL = ".recast/local"
"""the untracked store of this clone, for what must not be shared"""
BUG_LOG = ".recast/logs/bug.log"
"""the traceback of the newest bug of Recast's own"""
GUARD = "guard"
"""the stage that stops DVC when dvc.yaml is out of date; no recipe may bear its name"""
DEVICE_WITHIN = "device"
DEVICE_STAGE = f"{GUARD}-{DEVICE_WITHIN}"
"""the stage that has DVC write device.txt where it is missing"""


INSTALL = ("python", "-m", "pip", "install", "--requirement", str(PACKAGE / PINS / "recast.txt"), str(PACKAGE))
"""what installs a clone's Recast, with its pins, into the environment of that Python"""
STAGE_LAUNCHER = LAUNCHER
"""how dvc.yaml has DVC call Recast: by the clone's launcher, or by the command that was installed"""


def import_folder(root: Path) -> Path:
    """The folder that gives a Python process `recast` and no other package; in a clone, the clone's own."""
    for folder in (root / "src", PACKAGE / "src"):
        if (folder / "recast").is_dir():
            return folder
    # installed, it lies among packages that are made for another Python than a stage's
    return alone(root, "installed", PACKAGE, "recast")


def alone(root: Path, name: str, package: Path, imported_as: str) -> Path:
    """A folder of the repository's own that gives a Python process this package, or module, and no other."""
    folder = root / ".recast" / name
    link = folder / imported_as
    if not link.is_symlink() or link.readlink() != package:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f"{imported_as}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(package)
        fresh.replace(link)  # others may read it meanwhile
    return folder


def user_folder() -> Path:
    """The folder that all repositories of a user share: `$RECAST_HOME`, else `recast` in the user's cache.

    The cache is that of freedesktop.org on every system, as uv's is. `recast`, the launcher, looks there too.
    """
    if chosen := os.environ.get(USER_FOLDER):
        if not Path(chosen).is_absolute():
            raise RecastError(f"{USER_FOLDER} is '{chosen}', which is no absolute path", "write all of the path")
        return Path(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # which the rule says to ignore
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            message = "there is no home folder, in which environments are kept (HOME is not set)"
            raise RecastError(message, f"set {USER_FOLDER} to a folder for them") from None
    return cache / "recast"


def environments_folder() -> Path:
    """Where the environments of all repositories of a user lie."""
    return user_folder() / "envs"


def launcher(root: Path) -> str:
    """How Recast is called there: by the repository's own launcher if it has one, else by the installed command."""
    own = root / "recast"
    return "./recast" if own.is_file() and os.access(own, os.X_OK) else "recast"


def of_another_clone(root: Path) -> RecastError | None:
    """What keeps stages from being called there: the Recast that runs is a clone's own, and this is not that clone."""
    if IS_INSTALLED or launcher(root) == STAGE_LAUNCHER:
        return None
    return RecastError(
        f"this Recast is that of the clone {PACKAGE}, whose stages are files of that clone: it runs no other project",
        f"install it where no clone is, by: {shlex.join(INSTALL)}",
    )


def find_root() -> Path:
    """The repository the current directory lies in: the nearest folder with recipes/ and params.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / RECIPES).is_dir() and (folder / DEFAULTS).is_file():
            return folder
    raise RecastError(
        f"no {RECIPES}/ with {DEFAULTS} beside it here or above",
        "change to your project, or make this one with 'recast init'",
    )
