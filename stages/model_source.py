"""Which modules a recipe's model may come from: the repository's own, and those that the requirements state.

A recipe is data that anyone may send in. What it names is called with arguments it gives, so a name must never reach
what merely happens to be importable, such as `os:system`. The runner asks as well, so no package is imported here.
"""

from __future__ import annotations

import re
from pathlib import Path

from stages.base import StageError
from stages.spelling import did_you_mean, nearest

PROJECT = Path(__file__).resolve().parents[1]
"""the repository these stages belong to"""
REQUIREMENTS = "envs/torch.in"
"""its line `# models: PACKAGE ...` says which installed packages hold models"""
NO_MODELS = ("artifacts", "benchmarks", "envs", "pipeline", "stages")
"""folders of the repository that hold Recast's own code, or what it makes"""
ONLY_CLASSES = ("tests",)
"""folders of the repository whose functions do other things than make models"""

_STATED = re.compile(r"^#\s*models:\s*(.+)$", re.MULTILINE)
_LONGEST = 200
"""characters of a module's name; far below what file systems take"""


def stated_packages(root: Path) -> tuple[str, ...]:
    """The installed packages whose modules may hold a recipe's model, for example `torchvision.models`."""
    try:
        found = _STATED.search((root / REQUIREMENTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(found[1].split()) if found else ()


def source_of(root: Path, module: str) -> Path | None:
    """The repository's file that is the module; None for a module of a package that the requirements state.

    Looks at names and files only. Raises StageError for every other module, for one whose file does not exist, and for
    a file that lies outside the repository by way of a link.
    """
    parts = module.split(".")
    if len(module) > _LONGEST or any(part.startswith("__") for part in parts):
        raise StageError(f"'{module[:_LONGEST]}' is no module that a model may come from", _elsewhere(root))
    top = root / parts[0]
    if parts[0] != "models" and not top.is_dir() and not top.with_suffix(".py").is_file():
        if any(f"{module}.".startswith(f"{package}.") for package in stated_packages(root)):
            return None
        stated = ", ".join(stated_packages(root))
        if nearest(parts[0], ["models"]):
            raise StageError(f"there is no module '{module}'", f"did you mean '{'.'.join(['models', *parts[1:]])}'?")
        others = f", nor of a package that {REQUIREMENTS} names for models ({stated})" if stated else ""
        raise StageError(f"'{module}' is no module of this repository{others}", _elsewhere(root))
    if parts[0] in NO_MODELS:
        raise StageError(f"a model may not come from {parts[0]}/", _elsewhere(root))
    own = root.joinpath(*parts)
    file = own / "__init__.py" if own.is_dir() else own.with_suffix(".py")
    shown = file.relative_to(root).as_posix()
    if not file.is_file():
        known = [path.stem for path in own.parent.glob("*.py") if path.stem != "__init__"]
        raise StageError(
            f"the model's module '{module}' should be in {shown}, which does not exist", did_you_mean(parts[-1], known)
        )
    if not file.resolve().is_relative_to(root.resolve()):
        raise StageError(f"{shown} is a link that leads outside the repository", "copy the file in")
    return file


def _elsewhere(root: Path) -> str:
    return "name a class in models/, as 'models.net:Net'" + (
        ", or a builder, as 'torchvision.models:resnet18'" if "torchvision.models" in stated_packages(root) else ""
    )
