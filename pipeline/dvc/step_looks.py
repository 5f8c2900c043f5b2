"""Where a step's files are and how they look: what `up_to_date` remembers of it."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dvc.dependency.base import Dependency
from dvc.dependency.param import ParamsDependency
from dvc.output import Output
from dvc.stage.serialize import to_single_stage_lockfile

from recast.pipeline.dvc.remembered import Evidence, Known
from recast.pipeline.dvc.step import Step


class Looks:
    """Looks at steps of a repository."""

    def __init__(self, root: Path, repo: Any, shown: Callable[[str], str]) -> None:
        """`shown`: a path as users write it."""
        self._root = root
        self._repo = repo
        self._shown = shown

    def add_evidence(self, evidence: Evidence, steps: Sequence[Step]) -> None:
        """Note how everything looks that decides whether these steps are up to date."""
        trees: set[str] = set()
        objects: set[str] = set()
        for step in steps:
            objects.update(self._objects(step))
            trees |= {*self._files(step), *self._described(step), *self._outs(step)}
        outs = {out.fs_path for step in steps for out in step.stage.outs}
        folders, passed_over = [], []
        for folder, below, _ in self._repo.dvcignore.walk(self._repo.fs, str(self._root)):
            below[:] = [name for name in below if str(Path(folder) / name) not in outs]
            folders.append(self._shown(folder))
            with os.scandir(folder) as entries:
                other = [entry.path for entry in entries if entry.name not in below and entry.is_dir()]
            passed_over += [self._shown(path) for path in other]
        evidence.add(self._root, sorted(trees), folders, sorted(objects), passed_over)

    def known(self, step: Step, title: str, *, by_shell: bool, up_to_date: bool, was_run: bool) -> Known:
        """The step as it is now, for the next time; `was_run`: whether what it read was noted, well or not."""
        return Known(
            step.name,
            title,
            step.commands,
            step.folder,
            step.reads,
            step.after,
            by_shell,
            up_to_date,
            self._files(step),
            self._outs(step),
            tuple(self._objects(step)) if up_to_date else (),
            self._described(step),
            _entry(step) if up_to_date or was_run else None,
        )

    def paths(self, step: Step) -> set[str]:
        """All files and folders that decide whether the step is up to date."""
        return {*self._files(step), *self._outs(step), *self._objects(step), *self._described(step)}

    def is_plain(self, steps: Iterable[Step]) -> bool:
        """Whether each dvc.yaml says itself what its stages are: a template takes that from other files."""
        texts = {path: Path(path).read_text(encoding="utf-8") for path in {step.stage.path for step in steps}}
        return not any("${" in text for text in texts.values())

    def _files(self, step: Step) -> dict[str, str]:
        return {self._shown(dep.fs_path): dep.def_path for dep in step.stage.deps if dep.protocol == "local"}

    def _outs(self, step: Step) -> tuple[str, ...]:
        return tuple(self._shown(out.fs_path) for out in step.stage.outs)

    def _described(self, step: Step) -> tuple[str, ...]:
        return self._shown(step.stage.path), self._shown(str(Path(step.stage.path).with_suffix(".lock")))

    def _objects(self, step: Step) -> Iterator[str]:
        for out in step.stage.outs:
            if out.use_cache and out.hash_info:
                yield from (self._shown(path) for path in _cached_files(out))


def _cached_files(out: Any) -> Iterator[str]:
    """Every file of the cache that holds a part of the output."""
    yield out.cache.oid_to_path(out.hash_info.value)
    if out.hash_info.isdir and (tree := out.get_obj()):
        for _, _, hash in tree:
            yield out.cache.oid_to_path(hash.value)


def _entry(step: Step) -> dict[str, Any] | None:
    """What the run-cache finds the step's result by, as plain values; None if it cannot, or if only DVC can tell."""
    stage = step.stage
    params = [(dep.def_path, dep.params) for dep in stage.params]
    # other files are read by other rules, and some keys are patterns
    plain = all(keys and Path(file).suffix in (".yaml", ".yml") for file, keys in params)
    patterns = any(set(key) & set("*?[]") for _, keys in params for key in keys)
    if not step.commands or step.after or not plain or patterns or stage.is_callback or stage.always_changed:
        return None
    if not all(type(dep) in (Dependency, ParamsDependency) and dep.hash_info for dep in stage.deps):
        return None
    if not stage.outs or any(type(out) is not Output or out.persist or not out.is_in_repo for out in stage.outs):
        return None
    entry = to_single_stage_lockfile(_without_outs(stage))
    entry["outs"] = [{"path": path} for path in sorted(out.def_path for out in stage.outs)]
    try:
        said = json.loads(json.dumps(entry))
    except (TypeError, ValueError):
        return None
    plain = said == entry and all(read.get("hash") == "md5" for read in said["deps"])
    return said if plain else None


def _without_outs(stage: Any) -> Any:
    stage = copy.copy(stage)
    stage.outs = []
    return stage
