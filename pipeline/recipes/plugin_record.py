"""What recast.lock says of code that is installed: a digest for each stage, and what packages provide to recipes.

stages: {simplify: …, cairo: {emit: …}}    by target; those of the trunk by name
datasets: {squares: …}                     of plugins
models: {mine: …}                          by recipe, where a model imports what is installed
plugins: {recast-target-demo: {version: …, targets: […], stages: […], datasets: […]}}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import RECORD, STAGE_LAUNCHER
from recast.stages.common.spelling import did_you_mean, nearest
from recast.stages.providers import plugins

PLUGINS = "plugins"
VERSION = "version"


@dataclass(frozen=True)
class Record:
    """The content of recast.lock."""

    digests: Mapping[str, str] = field(default_factory=dict)
    """dotted key, as DVC tracks it -> digest"""
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """package -> its version, and what it provides by kind"""

    def document(self) -> dict[str, Any]:
        """As the file says it, sorted."""
        said: dict[str, Any] = {}
        for key, digest in sorted(self.digests.items()):
            *above, last = key.split(".")
            place = said
            for name in above:
                place = place.setdefault(name, {})
            place[last] = digest
        return {**said, **({PLUGINS: dict(sorted(self.plugins.items()))} if self.plugins else {})}


def read_record(root: Path) -> Record:
    """What is recorded; nothing where all code is the repository's. Raises RecastError for a file that is damaged."""
    try:
        text = (root / RECORD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Record()
    try:
        said = YAML(typ="safe").load(text)
        found = dict(said.pop(PLUGINS, {}))
        digests = dict(_digests(said))
    except (YAMLError, AttributeError, TypeError, ValueError):
        found, digests = {"": None}, {}
    if not all(isinstance(entry, dict) for entry in found.values()):
        remedy = f"restore it from git, or delete it and run '{STAGE_LAUNCHER} sync'"
        raise RecastError(f"{RECORD} cannot be read", remedy)
    return Record(digests, found)


def _digests(said: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in said.items():
        if isinstance(value, Mapping):
            yield from _digests(value, f"{above}{name}.")
        elif isinstance(value, str):
            yield f"{above}{name}", value
        else:
            raise TypeError(value)


def missing(root: Path, kind: str, name: object) -> tuple[str, str] | None:
    """What is wrong, and the remedy, if the target, stage or dataset is recorded as one of a plugin; else None.

    To be asked of what no installed package provides.
    """
    for plugin, entry in read_record(root).plugins.items():
        if name in entry.get(f"{kind}s", ()):
            version = entry.get(VERSION, "")
            message = f"the {kind} '{name}' is provided by the plugin {plugin} {version}, which is not installed"
            return message, f"install it beside Recast, for example with 'pip install {plugin}=={version}'"
    return None


def unknown(
    root: Path, kind: str, name: str, known: Iterable[str], where: str = "", called: str = ""
) -> tuple[str, str]:
    """What is wrong, and the remedy, if nothing provides a target, stage or dataset of that name.

    `where`: the place in the repository where it would be looked for.
    """
    if wrong := missing(root, kind, name):
        return wrong
    names = list(known)
    none = f"no {called or kind} named '{name}'{where}"
    if nearest(name, names):
        return none, did_you_mean(name, names)
    others = ", ".join(str(plugin) for plugin in plugins() if not plugin.is_ours) or "none"
    return f"{none}, and no installed plugin provides it", f"{did_you_mean(name, names)}; installed plugins: {others}"
