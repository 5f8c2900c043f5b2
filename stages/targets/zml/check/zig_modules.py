"""Zig's modules in a checkout of ZML, as its BUILD.bazel files describe them: what zig must be told without Bazel.

BUILD files are written in a part of Python's syntax, so Python's own parser reads them. Of a `select`, the default is
taken. What is no Zig of the checkout (C headers translated by Bazel, other repositories) is left to the caller.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recast.stages.base import StageError
from recast.stages.targets.zml.project import ZML_COMMIT

ROOT = "//zml:zml"
_IMPORT = re.compile(r'(?:const (\w+) = )?@import\("([^"]+)"\)')
BUILT_IN = ("std", "builtin", "root")
REMEDY = f"clone github.com/zml/zml there, at commit {ZML_COMMIT}"


@dataclass
class Module:
    """One `zig_library`: its label, the file it starts with, and what its files import -> the label of that."""

    label: str
    main: Path
    imports: dict[str, str] = field(default_factory=dict)
    absent: dict[str, set[str]] = field(default_factory=dict)
    """what its files import that is no Zig of the checkout -> names they take from it that look like types"""
    files: list[Path] = field(default_factory=list)
    """the file it starts with, and those that are reached from it by path"""


def modules(checkout: Path) -> dict[str, Module]:
    """Label -> module for `@zml//zml` and all it depends on; StageError if a BUILD file cannot be read."""
    found: dict[str, Module] = {}
    pending = [ROOT]
    while pending:
        label = pending.pop()
        rule = _rule(checkout, label)
        if label in found or rule is None:
            continue
        package = label.removeprefix("//").partition(":")[0]
        module = Module(label, checkout / package / str(rule["main"]))
        found[label] = module
        for dependency in (_absolute(one, package) for one in rule["deps"]):
            other = _rule(checkout, dependency)
            if other is not None:
                module.imports[str(other["import_name"])] = dependency
                pending.append(dependency)
        module.files, imported = _imported(module.main)
        for name, types in imported.items():
            if name in module.imports or name in BUILT_IN:
                continue
            # a dependency that the BUILD file computes, say in a loop over the platforms
            if "/" in name and (computed := _named(checkout, name)):
                module.imports[name] = computed
                pending.append(computed)
            else:
                module.absent[name] = types
    if ROOT not in found:
        raise StageError("verify.zml_checkout has no zig_library //zml:zml in zml/BUILD.bazel", REMEDY)
    return found


def _imported(main: Path) -> tuple[list[Path], dict[str, set[str]]]:
    """The file, and those it imports by path; what they import by name -> the capital names in it they do not call."""
    names: dict[str, set[str]] = {}
    seen: dict[Path, None] = {}
    pending = [main]
    while pending:
        path = pending.pop()
        if path in seen or not path.is_file():
            continue
        seen[path] = None
        text = path.read_text(encoding="utf-8", errors="replace")
        for alias, name in _IMPORT.findall(text):
            if name.endswith((".zig", ".zon")):
                pending.append((path.parent / name).resolve())
            else:
                used = re.findall(rf"\b{alias}\.([A-Z]\w*)\b(?!\()", text) if alias else []
                names.setdefault(name, set()).update(used)
    return list(seen), names


def _named(checkout: Path, import_name: str) -> str | None:
    """The label of the one zig_library that is imported by that name, in the folder the name is that of or above it."""
    found = set()
    for package in (import_name, import_name.rpartition("/")[0]):
        for name in {import_name.rpartition("/")[2], package.rpartition("/")[2]}:
            rule = _rule(checkout, f"//{package}:{name}")
            if rule and rule["import_name"] == import_name:
                found.add(f"//{package}:{name}")
    return found.pop() if len(found) == 1 else None


def _rule(checkout: Path, label: str) -> dict[str, str | list[str]] | None:
    """The arguments of the zig_library with that label; None if it is something else."""
    if not label.startswith("//"):
        return None
    package, _, name = label.removeprefix("//").partition(":")
    path = checkout / package / "BUILD.bazel"
    if not path.is_file():
        return None
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise StageError(f"verify.zml_checkout: cannot read {package}/BUILD.bazel: {error}", REMEDY) from error
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id == "zig_library":
            given = {one.arg: one.value for one in call.keywords if one.arg}
            if _texts(given.get("name")) == [name]:
                main = _texts(given.get("main")) or [f"{name}.zig"]
                return {
                    "main": main[0],
                    "import_name": (_texts(given.get("import_name")) or [name])[0],
                    "deps": _texts(given.get("deps")),
                }
    return None


def _texts(value: ast.expr | None) -> list[str]:
    return list(_each(value)) if value is not None else []


def _each(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.List(elts=elements):
            for element in elements:
                yield from _each(element)
        case ast.BinOp(left=left, right=right):
            yield from _each(left)
            yield from _each(right)
        case ast.Call(func=ast.Name(id="select"), args=[ast.Dict(keys=keys, values=values)]):
            for key, chosen in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "//conditions:default":
                    yield from _each(chosen)


def _absolute(label: str, package: str) -> str:
    """`:a` and `//p` as `//package:a` and `//p:p`; labels of other repositories as they are."""
    if label.startswith(":"):
        return f"//{package}{label}"
    if label.startswith("//") and ":" not in label:
        return f"{label}:{label.rpartition('/')[2]}"
    return label
