"""The code that a recipe names beside its model: functions of the project's, a loss or a metric, and the task's own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from recast.pipeline.core.errors import Problem
from recast.pipeline.planning import source_definition, source_faults
from recast.pipeline.planning.import_graph import defined_names, import_closure
from recast.pipeline.planning.value_layer import Layer
from recast.pipeline.recipes.document import KeyPath
from recast.pipeline.recipes.own_packages import OwnPackages
from recast.stages.base import NamesCode, Params, ProjectCode, StageError, names_code
from recast.stages.common.called_with import METRIC, CalledWith
from recast.stages.common.spelling import did_you_mean
from recast.stages.common.torch_models.model_source import source_of
from recast.stages.tasks.task import TaskReference


def check_named(
    project: ProjectCode,
    params: Params,
    layers: list[Layer],
    environment: str,
    own: OwnPackages | None,
    problems: list[Problem],
) -> Iterator[tuple[str, str]]:
    """(key in recast.lock of what of it is installed, module) of all that the params name; problems for what is absent.

    The key is the same for the same module, whichever stage names it. `environment`: where it is imported, with the
    packages of `own` beside those of it.
    """
    for param, reference, mark in _references(params):
        module, _, name = reference.partition(":")
        try:
            absent = _wrong(project, module, name) or _uncallable(project, module, name, mark, params)
            wrong = [absent] if absent else _faults(project, module, environment, own)
        except StageError as error:
            wrong = [(error.message, error.remedy)]
        except OSError as error:
            wrong = [(f"the module '{module}' cannot be read: {error.strerror}", "mend the name")]
        if not wrong:
            yield f"functions.{module.replace('.', '/')}", module
        layer = next(layer for layer in reversed(layers) if param[0] in layer.values)
        for one in wrong:
            problem = layer.document.problem((*layer.path, *param), *one)
            if problem not in problems:
                problems.append(problem)
    task = getattr(params, "task", None)
    if isinstance(task, TaskReference):
        yield f"tasks.{task.name}", task.module


def _wrong(project: ProjectCode, module: str, name: str) -> tuple[str, str] | None:
    """What is wrong with the reference, and a remedy; None if the repository's module defines the name."""
    file = source_of(project, module)
    if file is None:
        return f"'{module}:{name}' is of a package", "name a function of the project's own"
    names = defined_names(file)
    if names is not None and name not in names:
        return f"{file.relative_to(project.root).as_posix()} defines no '{name}'", did_you_mean(name, names)
    return None


def _uncallable(
    project: ProjectCode, module: str, name: str, mark: NamesCode, params: Params
) -> tuple[str, str] | None:
    """What is wrong with a name that is no function, or one that cannot be called as it is; None if source tells none.

    A class is left alone: it may be made first, and then called.
    """
    file = source_of(project, module)
    if file is None:
        return None
    shown = file.relative_to(project.root).as_posix()
    try:
        found = source_definition.find(project, module, file, name)
    except StageError:
        return f"'{name}' of {shown} is no function", "name one that the module defines"
    if found is None:
        return None
    if found.module != module:
        return f"{shown} only imports '{name}'", f"name the module that defines it, '{found.module}'"
    node = found.node
    if isinstance(node, ast.ClassDef) or node.decorator_list or not isinstance(mark, CalledWith):
        return None
    given, by_name = mark.given(params), mark.by_name(params)
    positional = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
    takes = [name for name in positional if name not in by_name]
    without_default = set(positional[: len(positional) - len(node.args.defaults)])
    needed = sum(name in without_default for name in takes)
    if needed <= len(given) and (len(given) <= len(takes) or node.args.vararg):
        return None
    mine, its = (" and ".join(names) or "nothing" for names in (given, takes))
    return f"'{name}' of {shown} takes {its}, and is called with {mine}", f"let it take {mine}"


def _faults(project: ProjectCode, module: str, environment: str, own: OwnPackages | None) -> list[tuple[str, str]]:
    files = import_closure(project.root, module, import_roots=project.import_roots)
    return list(source_faults.faults(project, files, environment, own))


def _references(params: Params) -> Iterator[tuple[KeyPath, str, NamesCode]]:
    for name, info in type(params).model_fields.items():
        value = getattr(params, name)
        inside = (mark for kind in getattr(info.annotation, "__args__", ()) for mark in _marks(kind))
        mark = next((mark for mark in (*info.metadata, *inside) if isinstance(mark, NamesCode)), None)
        if mark is not None and isinstance(value, str) and names_code(value):
            yield (name,), value, mark
        if isinstance(value, TaskReference) and value.metric is not None:
            yield (name, "metric"), value.metric, METRIC


def _marks(kind: object) -> tuple[object, ...]:
    found: tuple[object, ...] = getattr(kind, "__metadata__", ())
    return found
