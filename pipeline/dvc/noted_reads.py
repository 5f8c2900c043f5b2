"""What stages read, as it looked when it was noted: a result of something else belongs to no key.

A stage may read its files at any moment until it ends. So what it leaves is that of the hashes noted before only if
none of the files has been touched meanwhile, not even back and forth. What other stages make is rewritten with the same
content by other runs, and is compared by that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.dependency.param import ParamsDependency

from recast.pipeline.dvc.remembered import stamp


@dataclass(frozen=True)
class _Look:
    stamp: str
    newest: int
    """the latest modification of a file there, in nanoseconds"""


class NotedReads:
    """How the dependencies of stages look, by the names of the stages."""

    def __init__(self, repo: Any) -> None:
        """`repo`: DVC's."""
        self._repo = repo
        self._looks: dict[str, dict[str, _Look]] = {}

    def note(self, stage: Any) -> None:
        """Look at what the stage reads; to be called before it is hashed."""
        self._looks[stage.addressing] = {dep.fs_path: _look(dep.fs_path) for dep in _files(stage)}

    def edited(self, stage: Any, held: Mapping[str, int]) -> list[str]:
        """Paths of what was edited since, so that the stage may have read that.

        `held`: files that its process has read whole at once, and when they were last modified then, in nanoseconds.
        """
        looks = self._looks.get(stage.addressing, {})
        found = []
        for dep in _files(stage):
            path, before = dep.fs_path, looks.get(dep.fs_path)
            if before is None or before.stamp == stamp(Path(path)) or held.get(path) == before.newest:
                continue
            is_touched = _newest(path) != before.newest and not self._is_made(Path(path))
            if is_touched or dep.changed_checksum():
                found.append(path)
        return found

    def _is_made(self, path: Path) -> bool:
        """Whether some stage makes it, or the folder that it is in."""
        made = {out.fs_path for stage in self._repo.index.stages for out in stage.outs}
        return not made.isdisjoint(map(str, (path, *path.parents)))


def _files(stage: Any) -> list[Any]:
    """Its dependencies that are files or folders of this machine."""
    return [dep for dep in stage.deps if not isinstance(dep, ParamsDependency) and dep.protocol == "local"]


def _look(path: str) -> _Look:
    return _Look(stamp(Path(path)), _newest(path))


def _newest(path: str) -> int:
    """0 for what is not there."""
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return max((_modified(one) for one in (Path(path), *below) if "__pycache__" not in one.parts), default=0)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
