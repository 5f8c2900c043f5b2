"""Who provides what there is: Recast itself, and every installed package that names a `Plugin` in its entry points.

Imports nothing but the standard library and the modules in which plugins describe themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from recast.stages import IS_INSTALLED, PACKAGE, builtin
from recast.stages.datasets import GROUP, OWN
from recast.stages.plugin import Plugin, PluginError

T = TypeVar("T")
DISTRIBUTION = "recast-ml"
_OWN_DATASETS = "recast.stages.trunk.data"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_VERB = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Provider:
    """Recast itself, or a distribution that is installed beside it, with what it adds."""

    name: str
    """the distribution's, as package indexes write it"""
    version: str
    package: Path
    """the folder or the one file that holds all its code, pins and stage sets"""
    plugin: Plugin
    is_ours: bool = False
    datasets: Mapping[str, str] = field(default_factory=dict)
    """dataset -> the module that reads it, of those whose reader its entry points name"""
    tasks: Mapping[str, str] = field(default_factory=dict)
    """task -> its module, of those that its entry points name"""
    metadata: Path | None = None
    """the folder by which the distribution is found to be installed"""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()

    @property
    def imported_as(self) -> str:
        """The name that imports of its code begin with."""
        return "recast" if self.is_ours else self.package.stem

    @property
    def import_folder(self) -> Path:
        """The folder in which the files of its modules are looked up; see `planning.import_graph`."""
        return self.package if self.is_ours else self.package.parent

    @property
    def targets(self) -> dict[str, Path]:
        """target -> its stage set"""
        return _files(self.plugin.targets, ".yaml")

    @property
    def pins(self) -> dict[str, Path]:
        """environment -> its pin file"""
        return _files(self.plugin.pins, ".txt")

    @property
    def is_installed(self) -> bool:
        """Whether its files are no repository's, so that digests stand for them."""
        return not self.is_ours or IS_INSTALLED

    def names(self) -> Mapping[str, Mapping[str, object]]:
        """Group of entry points -> what of its kind is provided, by name."""
        return {"recast.targets": self.targets, "recast.stages": self.plugin.stages, "recast.verbs": self.plugin.verbs}

    @property
    def provides(self) -> dict[str, list[str]]:
        """What recipes can name: kind, in the plural -> names."""
        named = {"targets": self.targets, "stages": self.plugin.stages, "datasets": self.datasets, "tasks": self.tasks}
        return {kind: sorted(names) for kind, names in named.items() if names}


@cache
def providers() -> tuple[Provider, ...]:
    """Recast itself first, then plugins by name. Raises PluginError for one that cannot be used."""
    ours = Provider("Recast", "", PACKAGE, builtin.PLUGIN, is_ours=True, datasets=dict.fromkeys(OWN, _OWN_DATASETS))
    if IS_INSTALLED:
        ours = replace(ours, name=DISTRIBUTION, version=metadata.version(DISTRIBUTION))
    found = (ours, *_installed())
    for kind, of in _KINDS.items():
        _refuse_twice(found, kind, of)
    return found


def plugins() -> tuple[Provider, ...]:
    """The providers whose code is no file of the repository: all but Recast in a clone of it."""
    return tuple(provider for provider in providers() if provider.is_installed)


def gathered(of: Callable[[Plugin], Mapping[str, T]]) -> dict[str, T]:
    """What all providers add of one kind, by name."""
    return {name: what for provider in providers() for name, what in of(provider.plugin).items()}


def provider(of: Callable[[Provider], Mapping[str, object]], name: str) -> Provider | None:
    """Who provides what bears that name among things of one kind; None if nobody does."""
    return next((one for one in providers() if name in of(one)), None)


TASKS = "recast.tasks"
_BY_FUNCTION = {GROUP: ("dataset", "reads"), TASKS: ("task", "has")}
"""group of entry points that lead to what is provided itself, and to no `Plugin` -> kind, and a verb for messages"""

_KINDS: Mapping[str, Callable[[Provider], Mapping[str, object]]] = {
    "target": lambda provider: provider.targets,
    "stage": lambda provider: provider.plugin.stages,
    "environment": lambda provider: provider.pins,
    "verb": lambda provider: provider.plugin.verbs,
    "predictor": lambda provider: provider.plugin.predictors,
    "browser client": lambda provider: provider.plugin.browsers,
    "repair": lambda provider: provider.plugin.repairs,
    "dataset": lambda provider: provider.datasets,
    "task": lambda provider: provider.tasks,
}


def _refuse_twice(found: tuple[Provider, ...], kind: str, of: Callable[[Provider], Mapping[str, object]]) -> None:
    first: dict[str, Provider] = {}
    for provider in found:
        for name in of(provider):
            if name in first:
                raise PluginError(
                    f"the plugin {provider} registers the {kind} '{name}', which {first[name]} registers already",
                    f"uninstall '{provider.name}', or ask its authors for another name",
                )
            first[name] = provider


def _installed() -> Iterator[Provider]:
    by_name: dict[str, list[EntryPoint]] = {}
    for group in ("recast.targets", "recast.stages", "recast.verbs", *_BY_FUNCTION):
        for point in entry_points(group=group):
            by_name.setdefault(_distribution(point)[0], []).append(point)
    for name in sorted(by_name):
        yield _of(sorted(by_name[name], key=lambda point: (point.group, point.name)))


def _of(points: list[EntryPoint]) -> Provider:
    """What the entry points of one distribution name."""
    described = [point for point in points if point.group not in _BY_FUNCTION]
    objects = sorted({point.value for point in described})
    if len(objects) > 1:
        name, version = _distribution(points[0])
        raise PluginError(f"the plugin {name} {version} names {' and '.join(objects)}, not one Plugin", mend(name))
    found = _load(described[0] if described else points[0], has_plugin=bool(described))
    for point in described:
        if point.name not in found.names()[point.group]:
            what = f"the {point.group.removeprefix('recast.').removesuffix('s')} '{point.name}'"
            message = f"names {what} in its entry points, and {point.value} has none of that name"
            raise PluginError(f"the plugin {found} {message}", mend(found.name))
    alone = [point for point in points if point.group in _BY_FUNCTION]
    for point in alone:
        kind, does = _BY_FUNCTION[point.group]
        if not _DATASET.fullmatch(point.name):
            raise PluginError(
                f"the plugin {found} {does} '{point.name}', which is no name for a {kind}", mend(found.name)
            )
        if _package(point) != found.package:
            message = f"{does} the {kind} '{point.name}' by {point.value}, which is not in its package"
            raise PluginError(f"the plugin {found} {message} {found.package.stem}", mend(found.name))
    modules = {group: {point.name: point.module for point in alone if point.group == group} for group in _BY_FUNCTION}
    return replace(found, datasets=modules[GROUP], tasks=modules[TASKS])


def _distribution(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "of an unknown package", ""
    return re.sub(r"[-_.]+", "-", point.dist.name).lower(), point.dist.version


def mend(name: str) -> str:
    """A remedy for a plugin that cannot be used."""
    return f"mend or upgrade it, or 'pip uninstall {name}'"


def _load(point: EntryPoint, has_plugin: bool) -> Provider:
    name, version = _distribution(point)

    def refused(why: str) -> PluginError:
        return PluginError(f"the plugin {name} {version} cannot be loaded for '{point.name}': {why}", mend(name))

    try:
        plugin = point.load() if has_plugin else Plugin()
    except (Exception, SystemExit) as error:  # it is another's code
        raise refused(f"{point.value}: {type(error).__name__}: {error}") from error
    if not isinstance(plugin, Plugin):
        raise refused(f"{point.value} is no recast.stages.plugin.Plugin")
    package = _package(point)
    if package is None:
        raise refused(f"the package of {point.module} has no __init__.py")
    for folder in filter(None, (plugin.targets, plugin.pins)):
        if not folder.is_dir() or not folder.resolve().is_relative_to(package.resolve()):
            raise refused(f"{folder} is no folder of its package")
    found = Provider(name, version, package, plugin, metadata=getattr(point.dist, "_path", None))
    for stage in plugin.stages:
        target, dot, own = stage.partition(".")
        if not (dot and _NAME.fullmatch(target) and _NAME.fullmatch(own)):
            raise refused(f"'{stage}' is no name for a stage: it must be TARGET.STAGE")
    if wrong := [target for target in found.targets if not _NAME.fullmatch(target)]:
        raise refused(f"'{wrong[0]}' is no name for a target")
    if wrong := [verb for verb in plugin.verbs if not _VERB.fullmatch(verb)]:
        raise refused(f"'{wrong[0]}' is no name for a verb")
    return found


def _package(point: EntryPoint) -> Path | None:
    """The folder of the package an entry point leads into, or its only module; None for a namespace, or nothing."""
    try:
        spec = find_spec(point.module.partition(".")[0])
    except ValueError:
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)


def _files(folder: Path | None, suffix: str) -> dict[str, Path]:
    if folder is None:
        return {}
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}")) if not path.name.startswith(".")}
