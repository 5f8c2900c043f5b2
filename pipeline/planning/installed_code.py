"""The code of stages: what of it is in the repository, and digests of what is installed, Recast's own or a plugin's.

A digest is over the names and the bytes of just those files that a stage runs with, as `import_graph` finds them in the
repository too, so that another version of a package is another key only for the stages whose code or pins are other.
It holds nothing of the machine: not where the files lie, nor who installed them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from recast.pipeline.core.layout import PINS
from recast.pipeline.planning.import_graph import Closure, closure, source_folders
from recast.pipeline.planning.value_layer import Layer
from recast.stages.base import ModelReference, ProjectCode, Source, Stage
from recast.stages.providers import Provider, plugins, provider
from recast.stages.registry import REGISTRY

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class SeenFile:
    """An installed file, as it was when its content was read."""

    path: Path
    stamp: Stamp
    sha256: str

    def is_same(self) -> bool:
        """Whether it has the same content now. It is read only if it looks different."""
        try:
            return _stamp(self.path) == self.stamp or _sha256(self.path, _stamp(self.path)) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class StageCode:
    """All code that a stage runs with, its pins, and what an installed stage set says of it."""

    code: tuple[str, ...]
    """files and folders of the repository"""
    digests: Mapping[str, str] = field(default_factory=dict)
    """dotted key in recast.lock -> digest"""
    plugins: tuple[str, ...] = ()
    """the installed packages that have a part in it, Recast's own included, sorted"""
    files: tuple[SeenFile, ...] = ()
    """what the digests are over"""

    def __add__(self, other: StageCode) -> StageCode:
        return StageCode(
            tuple(sorted({*self.code, *other.code})),
            {**self.digests, **other.digests},
            tuple(sorted({*self.plugins, *other.plugins})),
            (*self.files, *other.files),
        )


class CodeOfStages:
    """Finds the code of stages for one plan; what several stages share is looked at once."""

    def __init__(self, root: Path, project: ProjectCode) -> None:
        self._root, self._import_roots = root, project.import_roots
        self._installed = {one.imported_as: one for one in plugins()}
        self._outside = {name: one.import_folder for name, one in self._installed.items()}
        self._closures: dict[str, Closure] = {}
        self._stages: dict[tuple[str | None, str, str], StageCode] = {}
        self._data: dict[str, dict[str, SeenFile]] = {}

    def of_stage(
        self, target: str | None, name: str, uses: str, stage: Stage[Any], layers: Iterable[Layer]
    ) -> StageCode:
        """Of the stage that a target, or the trunk, calls so: the same in every recipe."""
        key = target, name, uses
        if key not in self._stages:
            self._stages[key] = self._of_stage(*key, stage, [layer for layer in layers if layer.is_a_plugins])
        return self._stages[key]

    def _of_stage(self, target: str | None, name: str, uses: str, stage: Stage[Any], layers: list[Layer]) -> StageCode:
        entry = REGISTRY[uses]
        found = self._closure(entry.module)
        repository = [*found.files, *source_folders(self._root, stage.sources)]
        packages = {package for package, _ in found.outside}
        parts: dict[str, SeenFile] = {**self._modules(found), **self._sources(stage.sources)}
        pins = f"{PINS}/{entry.environment}.txt"
        owner = provider(lambda one: one.pins, entry.environment)
        if owner and owner.is_installed and not (self._root / pins).exists():
            parts[f"pins:{entry.environment}"] = seen(owner.pins[entry.environment])
            packages.add(owner.imported_as)
        else:
            repository.append(pins)
        said = {".".join(str(part) for part in layer.path): dict(layer.values) for layer in layers}
        if said and (owner := provider(lambda one: one.targets, str(target))):
            packages.add(owner.imported_as)
        key = f"stages.{target}.{name}" if target else f"stages.{name}"
        return self._code(repository, key, packages, parts, said)

    def of_dataset(self, name: str) -> StageCode:
        """Of what reads the dataset, if that is a plugin's."""
        owner = provider(lambda one: one.datasets, name)
        if owner is None or owner.is_ours:
            return StageCode(())
        found = self._closure(owner.datasets[name])
        packages = {owner.imported_as, *(package for package, _ in found.outside)}
        return self._code(found.files, f"datasets.{name}", packages, self._modules(found))

    def of_module(self, key: str, module: str) -> StageCode:
        """Of a module that a recipe's task is, or that holds a function it names; `key`: of what is installed of it."""
        found = self._closure(module)
        return self._code(found.files, key, {package for package, _ in found.outside}, self._modules(found))

    def of_model(self, model: Layer | None, files: tuple[str, ...]) -> StageCode:
        """Of the model that a recipe names, which is made of these files of the repository."""
        if model is None or not files or not self._installed:
            return StageCode(files)
        found = self._closure(ModelReference.model_validate(model.values["model"]).name.partition(":")[0])
        packages = {package for package, _ in found.outside}
        return self._code(files, f"models.{model.owner}", packages, self._modules(found))

    def _code(
        self,
        repository: Iterable[str],
        key: str,
        packages: Iterable[str],
        parts: Mapping[str, SeenFile],
        said: Mapping[str, Any] | None = None,
    ) -> StageCode:
        owners = tuple(sorted(self._installed[package].name for package in packages))
        code = tuple(sorted(set(repository)))
        if not parts and not said:
            return StageCode(code, plugins=owners)
        lines = [f"{name}\0{file.sha256}\n" for name, file in sorted(parts.items())]
        digest = hashlib.sha256("".join([*lines, json.dumps(said or {}, sort_keys=True)]).encode()).hexdigest()
        return StageCode(code, {key: digest}, owners, tuple(parts.values()))

    def _closure(self, module: str) -> Closure:
        if module not in self._closures:
            self._closures[module] = closure(self._root, module, self._outside, self._import_roots)
        return self._closures[module]

    def _modules(self, found: Closure) -> dict[str, SeenFile]:
        """The installed files among them, and all data of the plugins they belong to."""
        files = {f"{package}:{file}": seen(self._outside[package] / file) for package, file in found.outside}
        for package in {package for package, _ in found.outside}:
            files |= self._data_of(self._installed[package])
        return files

    def _data_of(self, plugin: Provider) -> Mapping[str, SeenFile]:
        """What is in its package beside code, pins and stage sets: nothing says which of its modules read that."""
        name = plugin.imported_as
        if plugin.is_ours or not plugin.package.is_dir():
            return {}  # Recast's own stages name what they read: see `Stage.sources`
        if name not in self._data:
            stated = {folder.resolve() for folder in (plugin.plugin.targets, plugin.plugin.pins) if folder}
            self._data[name] = {
                f"{name}:{file.relative_to(plugin.import_folder).as_posix()}": seen(file)
                for file in _files(plugin.package)
                if file.suffix != ".py" and file.resolve().parent not in stated
            }
        return self._data[name]

    def _sources(self, sources: Iterable[Source]) -> dict[str, SeenFile]:
        """The files of the folders that a stage reads, of those in installed packages."""
        return {
            f"{source.package}:{source.folder}/{file.relative_to(source.path).as_posix()}": seen(file)
            for source in sources
            if source.package.partition(".")[0] in self._installed
            for file in _files(source.path)
        }


def _files(folder: Path) -> Iterator[Path]:
    """Every file below the folder but what Python, editors and systems leave there."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        left_there = "__pycache__" in parts or path.suffix == ".pyc" or any(part.startswith(".") for part in parts)
        if path.is_file() and not left_there:
            yield path


def seen(path: Path) -> SeenFile:
    """The file as it is now; one that looks as it did is not read again."""
    stamp = _stamp(path)
    return SeenFile(path, stamp, _sha256(path, stamp))


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


@lru_cache(maxsize=8192)
def _sha256(path: Path, stamp: Stamp) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
