"""Which lines of a traceback, or of running code, are the user's own, and how an absent module comes to be there."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path
from types import FrameType

from recast.stages import LAUNCHER, PACKAGE

ANOTHER = "name another module as `model`"
# modules are imported through a link to the folder they lie in
_OURS = tuple(f"{place}/" for place in (Path(__file__).parents[3], PACKAGE / "pipeline", PACKAGE / "stages"))
_INSTALLED = tuple(
    {f"{Path(place)}/" for name, place in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib", "purelib")}
    | {f"{Path(place).resolve()}/" for name, place in sysconfig.get_paths().items() if name.endswith("lib")}
)


def is_users(filename: str) -> bool:
    """Whether a source file is the user's: of no package, not Python's own, and not Recast's."""
    return not filename.startswith(("<", *_INSTALLED, *_OURS)) and "/site-packages/" not in filename


def place_of(error: BaseException) -> str:
    """file:line of the innermost frame of the user's own code; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)}:{error.lineno}" if is_users(error.filename) else ""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f"{shown(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def place_now(frame: FrameType | None) -> tuple[str, int]:
    """File and line of the user's code that led to the frame; ("", 0) if there is none."""
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "", 0


def is_called_by_user(frame: FrameType | None) -> bool:
    """Whether the user's code is what called PyTorch there, and not a package's."""
    while frame is not None and "/torch/" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and is_users(frame.f_code.co_filename)


def shown(filename: str) -> str:
    """The file relative to the repository, in which the process was started, or else to where it was imported from."""
    file, here = Path(filename), Path.cwd()
    if file.is_relative_to(here):
        return file.relative_to(here).as_posix()
    roots = [Path(entry) for entry in sys.path if entry and file.is_relative_to(entry)]
    return file.relative_to(max(roots, key=lambda root: len(root.parts))).as_posix() if roots else file.name


def absent_module(name: str, place: str) -> tuple[str, ...]:
    """Remedies for an import of `name` that finds nothing; `place`: the user's file:line that asks for it, or "".

    A package comes into an environment by its lock: what is installed by hand is gone with the next change of that.
    """
    if not place:
        return (ANOTHER,)
    package = name.partition(".")[0]
    mend = f"mend the import at {place}"
    if any((Path(root) / package).is_dir() for root in sys.path if root and is_users(f"{root}/{package}/__init__.py")):
        return (f"create {name.replace('.', '/')}.py", mend)
    if package != name:  # it is there, and has no such module
        return (mend,)
    asked = f"'requirements: {{torch: [{package}]}}'"
    return (
        f"add the package that provides '{name}' to params.yaml, as {asked}, and run '{LAUNCHER} env lock'",
        f"drop the import at {place}",
    )
