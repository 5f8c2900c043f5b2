"""Which files a Python module imports, directly or through others, of the repository and of installed packages; which
folders a stage reads.

An AST walk: nothing is executed, and imports inside functions count. A stage re-runs when one of
these files changes.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from recast.stages.base import Source
from recast.stages.common.torch_models.model_source import searched


@dataclass(frozen=True)
class Closure:
    """What importing a module reads."""

    files: tuple[str, ...]
    """of the repository: relative, forward slashes, sorted"""
    outside: tuple[tuple[str, str], ...] = ()
    """(package, file) of installed packages, the file relative to the folder its package lies in; sorted"""


def import_closure(root: Path, module: str, import_roots: Sequence[str] = (".",)) -> tuple[str, ...]:
    """Files below `root` (relative, forward slashes, sorted) that importing `module` reads."""
    return closure(root, module, import_roots=import_roots).files


def closure(
    root: Path, module: str, outside: Mapping[str, Path] | None = None, import_roots: Sequence[str] = (".",)
) -> Closure:
    """The files that importing `module` reads.

    Includes the `__init__` file of every package on the way. A module that is neither in the repository nor in one of
    the packages of `outside` contributes nothing. A file that cannot be parsed counts, its imports do not.

    `outside`: installed packages that count -> the folder in which their files are looked up.
    `import_roots`: the folders, relative, in which its packages and modules are looked for, in that order.
    """
    outside = outside or {}
    found: dict[tuple[str, str], None] = {}
    waiting = [module]
    seen: set[str] = set()
    # most imports are of packages, which need not be looked for
    tops = {place: _tops(root / place, (root / place).stat().st_mtime_ns) for place in import_roots}
    places: dict[str, tuple[str, ...]] = {"recast": (".",)}
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in seen:
            continue
        seen.add(name)
        if top in outside:
            folders = [(top, outside[top], "")]
        else:
            if top not in places:
                places[top] = searched(root, [place for place in import_roots if top in tops[place]], top)
            folders = [("", root, "" if place == "." else f"{place}/") for place in places[top]]
        for package, folder, base in folders:
            for relative in _relative_files(f"{folder}/{base}", name):
                if (package, base + relative) not in found:
                    found[package, base + relative] = None
                    path = folder / base / relative
                    within = _package_of(relative)
                    # of Recast's the name begins with a folder that is not in the path
                    within = within if f"{within}.".startswith(f"{package}.") or not package else f"{package}.{within}"
                    waiting.extend(_imports(path, within, path.stat().st_mtime_ns))
    files = (relative for package, relative in found if not package)
    return Closure(tuple(sorted(files)), tuple(sorted(place for place in found if place[0])))


def source_folders(root: Path, sources: Iterable[Source]) -> tuple[str, ...]:
    """The folders, relative to `root`; as with modules, what is in no package of the repository contributes nothing."""
    packages = [(_place(root, source.package), source.folder) for source in sources]
    return tuple((package / folder).relative_to(root).as_posix() for package, folder in packages if package.is_dir())


def _relative_files(root: str, module: str) -> Iterator[str]:
    # asked for thousands of names, where pathlib takes most of a plan's time
    base = ""
    for part in _inside(module):
        base = f"{base}/{part}" if base else part
        for relative in (f"{base}/__init__.py", f"{base}.py"):
            if os.path.isfile(f"{root}/{relative}"):  # noqa: PTH113
                yield relative


@lru_cache(maxsize=64)
def _tops(root: Path, modified_ns: int) -> frozenset[str]:
    """The names that an import of something in the folder can begin with."""
    return frozenset(path.stem for path in root.iterdir())


def _place(root: Path, name: str) -> Path:
    """Where the package of a dotted name is, or, with a suffix, the module, if the repository has it."""
    return root.joinpath(*_inside(name))


def _inside(name: str) -> list[str]:
    """The parts of the path of a package or module in its repository."""
    # everything of Recast lies under one name, in folders that stand at the top of its repository
    return name.removeprefix("recast.").split(".")


def _package_of(relative: str) -> str:
    return ".".join(Path(relative).parent.parts)


@lru_cache(maxsize=1024)
def _imports(path: Path, package: str, modified_ns: int) -> tuple[str, ...]:
    """Dotted names a file imports; `from a import b` counts as both a and a.b."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ()
    names: list[str] = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*above, source] if source else above)
            names.append(source)
            names.extend(f"{source}.{alias.name}" for alias in node.names)
    return tuple(name for name in dict.fromkeys(names) if name)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement, those inside others too; expressions, nine nodes of ten, hold no import."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            inside = getattr(node, part, ())
            if isinstance(inside, list):  # a lambda's body, and an expression's branches, are none
                waiting.extend(inside)


def defined_names(path: Path) -> frozenset[str] | None:
    """Names a module defines or imports at its top level; None if it cannot be parsed or is open-ended (`import *`)."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(alias.name == "*" for alias in node.names):
                return None
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif not isinstance(node, ast.Expr | ast.AnnAssign):
            return None  # definitions may hide in if, try or with
    return frozenset(names)
