"""Installed code, in the processes of stages and verbs: where it is imported from, and that it stays as it was."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import alone, import_folder
from recast.pipeline.planning.plan import PlannedStage
from recast.stages.providers import Provider, plugins


def import_folders(root: Path, names: Iterable[str]) -> list[str]:
    """For each of these plugins a folder that gives a process its package and no other.

    The package is the one that was found when the stage was planned. As with Recast's own code it is not installed into
    environments: those would be built anew for each version, and could hold another than the one in the stage's key.
    """
    found = {plugin.name: plugin for plugin in plugins() if not plugin.is_ours}  # see `import_folder` for ours
    return [str(_folder(root, found[name])) for name in names if name in found]


def import_path(root: Path, names: Iterable[str] = ()) -> str:
    """PYTHONPATH of a process of ours in an environment: these plugins, and Recast."""
    return os.pathsep.join([*import_folders(root, names), str(import_folder(root))])


def _folder(root: Path, plugin: Provider) -> Path:
    folder = alone(root, f"plugins/{plugin.name}", plugin.package, plugin.package.name)
    metadata = plugin.metadata
    for link in folder.glob("*-info"):  # of another version
        if metadata is None or link.name != metadata.name:
            link.unlink(missing_ok=True)
    # by this the process finds its entry points, as for a dataset
    return alone(root, f"plugins/{plugin.name}", metadata, metadata.name) if metadata else folder


def refuse_replaced(stage: PlannedStage) -> None:
    """Raise RecastError if installed code of the stage is not what its key says. Only what looks different is read."""
    for file in stage.installed:
        if not file.is_same():
            message = f"the installed code of '{stage.id}' was changed meanwhile ({file.path})"
            raise RecastError(message, "run the command again")
