"""Which files of the repository a Python module imports, directly or through others.

An AST walk: nothing is executed, and imports inside functions count. A stage re-runs when one of
these files changes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path


def import_closure(root: Path, module: str) -> tuple[str, ...]:
    """Files below `root` (relative, forward slashes, sorted) that importing `module` reads.

    Includes the `__init__` file of every package on the way. A module that is not in the repository
    contributes nothing. A file that cannot be parsed counts, its imports do not.
    """
    found: set[str] = set()
    waiting = [module]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for path in module_files(root, name):
            relative = path.relative_to(root).as_posix()
            if relative not in found:
                found.add(relative)
                waiting.extend(_imports(path, _package_of(relative), path.stat().st_mtime_ns))
    return tuple(sorted(found))


def module_files(root: Path, module: str) -> Iterator[Path]:
    """The files importing a dotted name executes: each package's `__init__`, then the module."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:end])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path


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
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*above, source] if source else above)
            names.append(source)
            names.extend(f"{source}.{alias.name}" for alias in node.names)
    return tuple(name for name in names if name)


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
