"""What is wrong in the project's own code that stages import, as far as source tells: nothing is run.

Looked for in every file that importing a model, or a function that a recipe names, reads: Python that cannot be parsed,
an import of a package that the stage's environment does not hold, and of a name that a module of the project lacks. An
import inside a function, a `try` or `if TYPE_CHECKING` may never run, so it is left alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from recast.pipeline.core.import_names import imported_as
from recast.pipeline.core.layout import launcher
from recast.pipeline.planning.import_graph import defined_names
from recast.pipeline.recipes.own_packages import OwnPackages, model_environments, name_of, pins_beside
from recast.stages.base import ProjectCode
from recast.stages.common.spelling import did_you_mean
from recast.stages.common.torch_models.model_source import searched
from recast.stages.providers import plugins


def faults(
    project: ProjectCode, files: Iterable[str], environment: str, own: OwnPackages | None
) -> Iterator[tuple[str, str]]:
    """(message, remedy) of what would fail when a stage in that environment imports these files of the repository.

    `own`: the packages that are installed beside those of the environment. What these are imported as is not known
    without them (opencv-python is cv2), so where there are any, no import of a package is refused.
    """
    has_own = own is not None and bool(own.requirements)
    there = imported_as(name_of(pin) for pin in pins_beside(project.root, environment))
    known = {*there, *sys.stdlib_module_names, "recast", *(one.imported_as for one in plugins())}
    for file in files:
        path = project.root / file
        if path.suffix != ".py" or not path.is_file():
            continue
        parsed = _parsed(path, path.stat().st_mtime_ns)
        if isinstance(parsed, str):
            yield f"{file}:{parsed}", "mend it there"
            continue
        for line, level, module, name in parsed:
            at, parts = f"{file}:{line}", module.split(".") if module else []
            if level:
                yield from _absent(project.root, [path.parents[level - 1]], parts, name, at)
            elif places := searched(project.root, project.import_roots, parts[0]):
                yield from _absent(project.root, [project.root / place for place in places], parts, name, at)
            elif parts[0] not in known and not has_own:
                yield (
                    f"{at} imports '{parts[0]}', which '{environment}' does not hold",
                    _remedy(project.root, parts[0], environment),
                )


def _remedy(root: Path, package: str, environment: str) -> str:
    if environment not in model_environments():
        return "drop the import"
    asked = f"'requirements: {{{environment}: [{package}]}}'"
    return (
        f"add the package that provides it to params.yaml, as {asked}, and run '{launcher(root)} env lock', or drop "
        "the import"
    )


def _absent(root: Path, bases: Iterable[Path], parts: list[str], name: str, at: str) -> Iterator[tuple[str, str]]:
    """The module below these folders that does not exist, or the name that it lacks."""
    own = [base.joinpath(*parts) for base in bases]
    files = [file for path in own for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
    shown = ".".join(parts)
    if not files and not any(path.is_dir() for path in own):
        beside = sorted({file.stem for path in own for file in path.parent.glob("*.py")} - {"__init__"})
        yield f"{at} imports '{shown}', which does not exist", did_you_mean(parts[-1], beside)
        return
    if not name or name == "*" or any((path / name).is_dir() or (path / f"{name}.py").is_file() for path in own):
        return
    names = defined_names(files[0]) if files else frozenset()
    if names is not None and name not in names and "__getattr__" not in names:
        place = (files[0] if files else own[0]).relative_to(root).as_posix()
        yield f"{at} imports '{name}', which {place} does not define", did_you_mean(name, sorted(names))


@lru_cache(maxsize=1024)
def _parsed(path: Path, modified_ns: int) -> str | tuple[tuple[int, int, str, str], ...]:
    """`line:column: what is wrong` in what is no Python; else (line, level, module, name) of imports that run."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        return f"{error.lineno or 1}:{error.offset or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"1:1: {error}"
    return tuple(_surely(tree.body))


def _surely(body: Iterable[ast.stmt]) -> Iterator[tuple[int, int, str, str]]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, 0, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, node.level, node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.With):
            yield from _surely(node.body)
