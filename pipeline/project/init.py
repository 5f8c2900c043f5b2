"""`recast init`: makes a git repository a project of recipes, and overwrites nothing in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import ARTIFACTS, DEFAULTS, DEVICE, RECIPES
from recast.pipeline.core.version import version
from recast.pipeline.planning.schema import SCHEMA, render_schema
from recast.pipeline.project.template import as_it_lies, filled
from recast.pipeline.recipes.defaults import IMPORT_ROOTS, no_import_root

WORKFLOW = ".github/workflows/recast.yml"
FIRST = "digits"
"""the first recipe"""
_MODULE, _CLASS = "digits_cnn", "DigitsCnn"
_GIT_IGNORES = (".recast/", f"{ARTIFACTS}/", f"/{DEVICE}", "/downloads/", "/dvc_plots/", "/report.html", "__pycache__/")
_EDITORS_LEAVE = ("/recipes/**/.#*", "/recipes/**/.*.sw?", "/recipes/**/*~")
_DVC_IGNORES = (".recast", ".venv", "downloads", "__pycache__", *_EDITORS_LEAVE)


class Done(StrEnum):
    """What became of a file."""

    WROTE = "wrote"
    ADDED = "added to"
    KEPT = "left alone"


@dataclass(frozen=True)
class Touched:
    """A file, what became of it, and what there is to know about that."""

    file: str
    done: Done
    note: str = ""

    def __str__(self) -> str:
        return f"{self.done.value:<10} {self.file}" + (f": {self.note}" if self.note else "")


def git_top(folder: Path) -> Path:
    """The top of the git work tree the folder lies in. RecastError outside one."""
    try:
        asked = ["git", "rev-parse", "--show-toplevel"]
        english = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(asked, cwd=folder, env=english, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise RecastError("git is not installed", "install it, and run 'git init' in your repository") from None
    if done.returncode and "not a git repository" not in done.stderr:
        raise RecastError(f"git refuses {folder}: {done.stderr.strip()}", "mend that first")
    if done.returncode or not done.stdout.strip():
        raise RecastError(f"{folder} lies in no git repository", "run 'git init' in it first")
    return Path(done.stdout.removesuffix("\n"))


def check_place(folder: Path, subdir: bool) -> None:
    """RecastError unless a project can be made here; nothing has been written then."""
    top = git_top(folder)
    if not subdir and top.resolve() != folder.resolve():
        raise RecastError(
            f"this folder lies below the top of its git repository, {top}",
            "run the command there, or add --subdir to make the project in this folder",
        )
    for name in (RECIPES, Path(WORKFLOW).parts[0], ".dvc"):
        path = folder / name
        if path.is_symlink() and not path.exists():
            raise RecastError(f"{name} is a link to nothing", "mend it or take it away")
        if path.exists() and not path.is_dir():
            raise RecastError(f"{name} is a file, and a folder of that name is needed", "rename the file")


def init(folder: Path, *, subdir: bool, workflow: bool) -> Iterator[Touched]:
    """Write what is missing, and say of each file what became of it."""
    check_place(folder, subdir)
    yield from _dvc(folder)
    yield _add_lines(folder, ".gitignore", _GIT_IGNORES)
    yield _add_lines(folder, ".dvcignore", _DVC_IGNORES)
    yield _defaults(folder)
    yield from _first_recipe(folder)
    yield _write(folder, SCHEMA, render_schema(folder))
    if workflow:
        yield _write(folder, WORKFLOW, filled("workflow.yaml", {"version": version()}))


def _defaults(folder: Path) -> Touched:
    """params.yaml, which says where packages of the project's lie if that is src/."""
    found = _import_root(folder)
    path = folder / DEFAULTS
    if not (path.exists() or path.is_symlink()):
        written = _write(folder, DEFAULTS, filled("params.yaml", {"import_root": found}))
        return replace(written, note=f"{IMPORT_ROOTS}: [{found}]") if found and not written.note else written
    if not found:
        return Touched(DEFAULTS, Done.KEPT, "it is there already")
    line = f"{IMPORT_ROOTS}: [{found}]"
    try:
        there = path.read_bytes()
        before = YAML(typ="safe").load(there) or {}
        if isinstance(before, dict) and IMPORT_ROOTS in before:
            return Touched(DEFAULTS, Done.KEPT, "it is there already")
        end = b"\r\n" if b"\r\n" in there else b"\n"
        more = (b"" if not there or there.endswith(b"\n") else end) + line.encode() + end
        if not path.is_symlink() and YAML(typ="safe").load(there + more) == {**before, IMPORT_ROOTS: [found]}:
            with path.open("ab") as opened:
                opened.write(more)
            return Touched(DEFAULTS, Done.ADDED, line)
    except (YAMLError, ValueError, TypeError):
        pass  # `recast check` says what is wrong with it
    return Touched(DEFAULTS, Done.KEPT, f"add '{line}' to it, for recipes to name what is in {found}/")


def _import_root(folder: Path) -> str:
    """`src` where that folder holds packages, and is none itself; empty else."""
    src = folder / "src"
    if (src / "__init__.py").exists() or (src / "recast").is_dir() or no_import_root(folder, "src"):
        return ""
    return "src" if any(src.glob("*.py")) or any(src.glob("*/__init__.py")) else ""


def _dvc(folder: Path) -> Iterator[Touched]:
    if (folder / ".dvc").is_dir():
        yield Touched(".dvc/", Done.KEPT, "DVC is set up already")
        return
    below = git_top(folder).resolve() != folder.resolve()
    _call_dvc(folder, "init", "--quiet", *(["--subdir"] if below else []))
    # as Recast does for what it starts: report nothing, look for no update
    for option in ("analytics", "check_update"):
        _call_dvc(folder, "config", "--quiet", f"core.{option}", "false")
    yield Touched(".dvc/", Done.WROTE, "by 'dvc init'; DVC is told to report nothing")


def _call_dvc(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        complaint = (done.stderr.strip() or done.stdout.strip()).removeprefix("ERROR: ")
        raise RecastError(f"'dvc {arguments[0]}' failed: {complaint}", "mend that, then run 'recast init' again")


def _first_recipe(folder: Path) -> Iterator[Touched]:
    """A first recipe and its model; none where there are recipes."""
    if others := sorted(path.name for path in (folder / RECIPES).glob("*.y*ml")):
        yield Touched(f"{RECIPES}/", Done.KEPT, f"it has recipes: {', '.join(others[:3])}{', …' if others[3:] else ''}")
        return
    package = _model_package(folder)
    file = f"{package}/{_MODULE}.py"
    values = {"model": f"{package}.{_MODULE}:{_CLASS}", "model_file": file}
    if not any((folder / package).glob("*.py")):
        docstring = '"""The `nn.Module` definitions that recipes name as `%s.<file>:<Class>`."""\n'
        yield _write(folder, f"{package}/__init__.py", docstring % package)
    yield _write(folder, file, as_it_lies("first_model.py"))
    yield _write(folder, f"{RECIPES}/{FIRST}.yaml", filled("first_recipe.yaml", values))


def _model_package(folder: Path) -> str:
    """A package that takes no module of the project's its name, and in which the model's file is not there yet."""
    for name in ("models", "recipe_models"):
        place = folder / name
        free = not place.exists() and not place.is_symlink() and not (folder / f"{name}.py").exists()
        if free or (place.is_dir() and not (place / f"{_MODULE}.py").exists()):
            return name
    raise RecastError(
        f"there is no recipe, and models/ and recipe_models/ are taken, so no place for the first one's {_MODULE}.py",
        "rename one of them, or write a recipe of your own into recipes/ first",
    )


def _write(folder: Path, file: str, text: str) -> Touched:
    path = folder / file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        return Touched(file, Done.KEPT, "it is there already")
    return Touched(file, Done.WROTE, _untracked(folder, file))


def _untracked(folder: Path, file: str) -> str:
    """A note where git would not see the file."""
    asked = ["git", "check-ignore", "--quiet", "--", file]
    ignored = subprocess.run(asked, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    return f"but git ignores it; 'git add --force {file}' tracks it all the same" if ignored else ""


def _add_lines(folder: Path, file: str, lines: Sequence[str]) -> Touched:
    """Add those lines to a file of one pattern a line that it lacks."""
    path = folder / file
    if path.is_symlink():
        return Touched(file, Done.KEPT, f"it is a link; see that it has the lines {' '.join(lines)}")
    there = path.read_bytes() if path.exists() else b""
    had = {line.strip().strip(b"/") for line in there.splitlines()}
    missing = [line for line in lines if line.encode().strip(b"/") not in had]
    if not missing:
        return Touched(file, Done.KEPT, "it has every line that is needed")
    end = "\r\n" if b"\r\n" in there else "\n"
    before = end if there and not there.endswith(b"\n") else ""
    with path.open("ab") as opened:
        opened.write((before + "".join(f"{line}{end}" for line in missing)).encode())
    return Touched(file, Done.ADDED if there else Done.WROTE, " ".join(missing))
