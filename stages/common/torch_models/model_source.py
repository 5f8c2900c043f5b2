"""Which modules a recipe's model may come from: the project's own, and those that the requirements state.

A recipe is data that anyone may send in. What it names is called with arguments it gives, so a name must never reach
what merely happens to be importable, such as `os:system`. The runner asks as well, so no package is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from recast.stages import PACKAGE
from recast.stages.base import ProjectCode, StageError
from recast.stages.common.spelling import did_you_mean, meant, nearest

REQUIREMENTS = "envs/torch.in"
"""its line `# models: PACKAGE ...` says which of the packages that Recast brings hold models"""
ONLY_CLASSES = ("tests",)
"""folders of the repository whose functions do other things than make models"""

_MADE = ("artifacts", ".recast", ".dvc", ".git", ".venv")
"""folders of the repository that hold what tools put there"""
_OURS = ("benchmarks", "envs", "pipeline", "src", "stages")
"""folders that hold Recast's own code, in a clone of it"""
_STATED = re.compile(r"^#\s*models:\s*(.+)$", re.MULTILINE)
_LONGEST = 200
"""characters of a module's name; far below what file systems take"""


def stated_packages(project: ProjectCode) -> tuple[str, ...]:
    """The installed packages whose modules may hold a recipe's model, for example `torchvision.models`."""
    for place in (project.root, PACKAGE):
        try:
            found = _STATED.search((place / REQUIREMENTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return (*(found[1].split() if found else ()), *project.model_packages)
    return project.model_packages


def searched(root: Path, import_roots: Sequence[str], package: str) -> tuple[str, ...]:
    """Of the import roots those in which Python looks for what lies in the package of that name, or is that module.

    A folder without `__init__.py` is looked into only where no root has a package or module of that name, and then in
    every root that has such a folder.
    """
    folders = []
    for place in import_roots:
        there = root / place / package
        if (there / "__init__.py").is_file() or there.with_suffix(".py").is_file():
            return (place,)
        if there.is_dir():
            folders.append(place)
    return tuple(folders)


def source_of(project: ProjectCode, module: str) -> Path | None:
    """The repository's file that is the module; None for a module of a package that the requirements state.

    Looks at names and files only. Raises StageError for every other module, for one whose file does not exist, and for
    a file that lies outside the repository by way of a link.
    """
    root, parts = project.root, module.split(".")
    if len(module) > _LONGEST or any(part.startswith("__") for part in parts):
        raise StageError(f"'{module[:_LONGEST]}' is no module that a model may come from", _elsewhere(project))
    places = searched(root, project.import_roots, parts[0])
    if parts[0] != "models" and not places:
        stated = stated_packages(project)
        if any(f"{module}.".startswith(f"{package}.") for package in stated):
            return None
        if nearest(parts[0], ["models"]):
            raise StageError(f"there is no module '{module}'", meant(".".join(["models", *parts[1:]])))
        others = f", nor of a package that may hold models ({', '.join(stated)})" if stated else ""
        message = f"'{module}' is no module of this repository{others}"
        raise StageError(message, _as_import_root(project, parts[0]) or _elsewhere(project))
    files = [_file(root / place, parts) for place in places or (".",)]
    file = next((file for file in files if file.is_file()), files[0])
    shown = file.relative_to(root).as_posix()
    whole, here = file.resolve(), root.resolve()
    lies_in = {shown.partition("/")[0], *(whole.relative_to(here).parts[:1] if whole.is_relative_to(here) else ())}
    for folder in (*_MADE, *(_OURS if _is_recast(root) else ())):
        if folder in lies_in:
            raise StageError(f"a model may not come from {folder}/", _elsewhere(project))
    if not file.is_file():
        known = [path.stem for path in file.parent.glob("*.py") if path.stem != "__init__"]
        raise StageError(
            f"the model's module '{module}' should be in {shown}, which does not exist", did_you_mean(parts[-1], known)
        )
    if not whole.is_relative_to(here):
        raise StageError(f"{shown} is a link that leads outside the repository", "copy the file in")
    return file


def _file(place: Path, parts: Sequence[str]) -> Path:
    own = place.joinpath(*parts)
    return own / "__init__.py" if own.is_dir() else own.with_suffix(".py")


def _is_recast(root: Path) -> bool:
    """Whether the repository is one of Recast itself."""
    return (root / "src" / "recast").is_dir()


def _as_import_root(project: ProjectCode, package: str) -> str:
    """The remedy where the package lies in src/, and nothing says so."""
    there = project.root / "src" / package
    is_there = there.is_dir() or there.with_suffix(".py").is_file()
    if not is_there or "src" in project.import_roots or _is_recast(project.root):
        return ""
    return f"src/ has a '{package}': add 'import_roots: [src]' to params.yaml"


def _elsewhere(project: ProjectCode) -> str:
    return "name a class in models/, as 'models.net:Net'" + (
        ", or a builder, as 'torchvision.models:resnet18'" if "torchvision.models" in stated_packages(project) else ""
    )
