"""Recast: everything that can be imported lies under this name.

The folders of the repository keep their places: `pipeline`, `stages`, `envs` and `recipes/targets` in here are links to
them. In a wheel they are copies.

For programs and notebooks: `recast.open_project()` and what that gives; see docs/python.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recast.pipeline.api.model import Model as Model
    from recast.pipeline.api.project import Project as Project
    from recast.pipeline.api.project import Ran as Ran
    from recast.pipeline.api.project import open_project as open_project
    from recast.pipeline.core.errors import RecastError as RecastError
    from recast.pipeline.core.errors import RecipeError as RecipeError
    from recast.pipeline.execution.events import Changed as Changed
    from recast.pipeline.execution.events import Event as Event
    from recast.pipeline.execution.events import Progress as Progress
    from recast.pipeline.execution.events import State as State

# looked up when it is asked for: a stage's process imports this package too, and its environment lacks the runner's
_FROM = {
    "Model": "recast.pipeline.api.model",
    "Project": "recast.pipeline.api.project",
    "Ran": "recast.pipeline.api.project",
    "open_project": "recast.pipeline.api.project",
    "RecastError": "recast.pipeline.core.errors",
    "RecipeError": "recast.pipeline.core.errors",
    "Changed": "recast.pipeline.execution.events",
    "Event": "recast.pipeline.execution.events",
    "Progress": "recast.pipeline.execution.events",
    "State": "recast.pipeline.execution.events",
}
__all__ = tuple(_FROM)


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'recast' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_FROM[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM})
