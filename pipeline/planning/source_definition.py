"""What a name means in a module of the repository, and what calling it takes: read from source, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recast.stages.base import ProjectCode, StageError
from recast.stages.common.torch_models.model_source import source_of


@dataclass(frozen=True)
class Definition:
    """A class or function, and the module it stands in."""

    module: str
    file: Path
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Argument:
    """What may be given by keyword."""

    name: str
    required: bool
    annotation: str
    """as it stands in the source, if it is a plain name; else empty"""
    nullable: bool


@dataclass(frozen=True)
class Signature:
    """The arguments that a call takes by keyword."""

    arguments: tuple[Argument, ...]
    open_ended: bool
    """whether it takes any others too (`**kwargs`)"""


def find(
    project: ProjectCode, module: str, file: Path, name: str, seen: frozenset[str] = frozenset()
) -> Definition | None:
    """Where `name` of the module is defined; None if only running it would tell, or if there is no such name.

    Raises StageError if it is plain that the name is no class or function of the repository, nor of a package that may
    hold models.
    """
    key = f"{module}:{name}"
    tree = parsed(file)
    if tree is None or key in seen:
        return None
    shown = file.relative_to(project.root).as_posix()
    bound = _binding(tree, name)
    if isinstance(bound, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return Definition(module, file, bound)
    if isinstance(bound, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Set | ast.JoinedStr):
        raise StageError(f"'{name}' of {shown} is neither a class nor a function", "name one that makes the model")
    if isinstance(bound, ast.Name):
        return find(project, module, file, bound.id, seen | {key}) if bound.id != name else None
    origin = _imported_from(tree, bound, name, _package(module, file)) if bound is not None else None
    if origin is None:
        return None
    source, attribute = origin
    if not attribute:
        raise StageError(f"'{name}' of {shown} is a module", "name a class, or a function that makes the model")
    try:
        there = source_of(project, source)
    except StageError as error:
        # `from models import net` brings in a module
        raise StageError(
            f"'{name}' of {shown} is {attribute} of '{source}', which a recipe may not call", error.remedy
        ) from error
    return find(project, source, there, attribute, seen | {key}) if there else None


def signature(project: ProjectCode, definition: Definition) -> Signature | None:
    """What calling it takes; None if only running it would tell."""
    node = definition.node
    if node.decorator_list:
        return None
    if not isinstance(node, ast.ClassDef):
        return _signature(node.args, 0)
    if node.keywords:  # a metaclass may do anything
        return None
    own = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
    if "__new__" in own:
        return None
    if "__init__" in own:
        return None if own["__init__"].decorator_list else _signature(own["__init__"].args, 1)
    if len(node.bases) != 1:
        return None if node.bases else Signature((), False)
    base = node.bases[0]
    if ast.unparse(base) in ("nn.Module", "torch.nn.Module", "Module"):
        return Signature((), False)
    if not isinstance(base, ast.Name) or base.id == node.name:
        return None
    try:
        found = find(project, definition.module, definition.file, base.id)
    except StageError:
        return None
    return signature(project, found) if found and found.node is not node else None


def makers(file: Path) -> tuple[str, ...]:
    """Names of the classes and functions that the module defines at its top level."""
    tree = parsed(file)
    return tuple(node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)) if tree else ()


def parsed(file: Path) -> ast.Module | None:
    """The file's syntax tree; None if it cannot be read or parsed, which whoever imports it will say better."""
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _binding(tree: ast.Module, name: str) -> ast.AST | None:
    """What the name is bound to at the module's top level, last: a definition, an import, or an assigned value."""
    found: ast.AST | None = None
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = node if node.name == name else found
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any(name == (alias.asname or alias.name.partition(".")[0]) for alias in node.names):
                found = node
        elif isinstance(node, ast.Assign):
            if any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
                found = node.value
        elif isinstance(node, ast.AnnAssign):
            if isinstance(node.target, ast.Name) and node.target.id == name:
                found = node.value
        elif name in set(_bound_within(node)):
            found = None  # in an if, a try or a loop: only running it tells
    return found


def _bound_within(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield part.name
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store | ast.Del):
            yield part.id
        elif isinstance(part, ast.alias):
            yield part.asname or part.name.partition(".")[0]


def _imported_from(tree: ast.Module, bound: ast.AST, name: str, package: str) -> tuple[str, str] | None:
    """(module, attribute) that `name` is bound to; no attribute where it is a module itself; None if not known."""
    if isinstance(bound, ast.Import):
        return next((alias.name, "") for alias in bound.names if name in (alias.asname, alias.name.partition(".")[0]))
    if isinstance(bound, ast.ImportFrom):
        alias = next(alias for alias in bound.names if name == (alias.asname or alias.name))
        return _source(bound, package), alias.name
    chain: list[str] = []
    while isinstance(bound, ast.Attribute):
        chain.insert(0, bound.attr)
        bound = bound.value
    if not chain or not isinstance(bound, ast.Name):
        return None
    first = _binding(tree, bound.id)
    if not isinstance(first, ast.Import | ast.ImportFrom):
        return None
    origin = _imported_from(tree, first, bound.id, package)
    if origin is None:
        return None
    if isinstance(first, ast.Import) and not any(alias.asname == bound.id for alias in first.names):
        origin = bound.id, ""  # `import a.b` binds a
    return ".".join(filter(None, [*origin, *chain[:-1]])), chain[-1]


def _source(node: ast.ImportFrom, package: str) -> str:
    """The module that an import takes names from."""
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, node.module] if node.module else above)


def _package(module: str, file: Path) -> str:
    return module if file.name == "__init__.py" else module.rpartition(".")[0]


def _signature(args: ast.arguments, bound: int) -> Signature:
    """`bound`: how many leading arguments the call fills by itself (`self`)."""
    positional = [*args.posonlyargs, *args.args]
    defaults: Mapping[str, ast.expr] = dict(
        zip([arg.arg for arg in positional[len(positional) - len(args.defaults) :]], args.defaults, strict=True)
    ) | {arg.arg: value for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True) if value is not None}
    only_positional = {arg.arg for arg in args.posonlyargs}
    given = [arg for arg in (*positional[bound:], *args.kwonlyargs) if arg.arg not in only_positional]
    return Signature(tuple(_argument(arg, defaults.get(arg.arg)) for arg in given), args.kwarg is not None)


def _argument(arg: ast.arg, default: ast.expr | None) -> Argument:
    annotation = arg.annotation
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        plain = annotation.value
    else:
        plain = annotation.id if isinstance(annotation, ast.Name) else ""
    nullable = isinstance(default, ast.Constant) and default.value is None
    return Argument(arg.arg, default is None, plain, nullable)
