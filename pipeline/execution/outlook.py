"""What an edit can reach, and which stages it surely makes run, told from what is remembered, without DVC.

What is told here is only what needs no judgement: a stage runs if all that it reads from other stages is unchanged, a
file or a param of its own is not what dvc.lock records, and the run-cache has no result for that. Whatever is less
plain (a folder, a missing param, an output, a result that might be restored) is left to DVC.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from recast.pipeline.core.layout import GUARD
from recast.pipeline.dvc.remembered import FIXED, PLANNED_FROM, Evidence, Known, Recalled, stamp

# of an entry's files, what DVC leaves out of its key
_NO_KEY = ("size", "nfiles")


class Outlook:
    """The stages of one request, a moment after they were looked at."""

    def __init__(self, root: Path, recalled: Recalled) -> None:
        self._root = root
        self._recalled = recalled
        self._changed = recalled.changed
        self._parsed: dict[str, tuple[str, Any]] = {}
        """params files that look different -> how they looked when they were read, and what they said"""
        self._outs = {path for known in recalled.memory.steps for path in known.outs}

    @property
    def steps(self) -> tuple[Known, ...]:
        """All of them, in an order that runs."""
        return self._recalled.memory.steps

    @cached_property
    def is_void(self) -> bool:
        """Whether anything may be otherwise, since what describes the stages looks different."""
        described = {path for known in self.steps for path in known.described}
        return not self._changed.isdisjoint({*FIXED, *described, *self._recalled.evidence.installed})

    @cached_property
    def keeps_plan(self) -> bool:
        """Whether a plan made now would be the one that was."""
        return self._changed.isdisjoint(PLANNED_FROM)

    @cached_property
    def reached(self) -> frozenset[str]:
        """Steps that may not be up to date: what the edit is about, and all that lies behind it."""
        found: set[str] = set()
        for known in self.steps:
            # what the guard leaves is always the same, and whoever reads it looks at that as well
            behind = any(read in found and read != GUARD for read in known.reads)
            if behind or not known.up_to_date or self._is_edited(known):
                found.add(known.name)
        return frozenset(found)

    def _is_edited(self, known: Known) -> bool:
        """Whether anything of the step's own looks different; in a params file only what it tracks counts."""
        edited = known.paths & self._changed
        if edited and known.entry is not None:
            tracked: Mapping[str, Mapping[str, Any]] = known.entry.get("params", {})
            for path in list(edited):
                values = tracked.get(known.files.get(path, ""), {})
                if values and all(_is_same(_value(self._params(path), key), values[key]) for key in values):
                    edited.discard(path)
        return bool(edited)

    def still_holds(self) -> bool:
        """Whether what describes the stages looks now as it did."""
        described = {path for known in self.steps for path in known.described}
        return all(stamp(self._root / path) == self._recalled.evidence.trees.get(path) for path in described)

    def unreached(self) -> Evidence:
        """How everything was seen that shows the other steps to be up to date, but for what the run itself may write.

        That is dvc.lock, and what the guard leaves.
        """
        others = [known for known in self.steps if known.name not in self.reached]
        written = {path for known in self.steps if known.name in self.reached for path in known.outs}
        paths = {path for known in others for path in known.paths.difference(known.described, written)}
        seen = self._recalled.evidence.part(paths)
        seen.trees |= {path: look for path, (look, _) in self._parsed.items() if path in paths}
        return seen

    def must_run(self, known: Known) -> dict[str, str] | None:
        """The stamps of what the step would read, if it surely must run and nothing before it does; else None."""
        if known.name not in self.reached or known.entry is None or known.after:
            return None
        if known.name == GUARD:
            return None  # it writes what others read, and waits for nothing that takes time
        if any(read in self.reached and read != GUARD for read in known.reads):
            return None
        seen = {path: self._seen(path, known) for path in known.files}
        now = self._entry_now(known, {path for path in seen if self._is_looked_at(path, known)})
        if now is None or (known.up_to_date and now == known.entry) or self._has_result(now):
            return None
        return seen

    def _is_looked_at(self, path: str, known: Known) -> bool:
        # a step that failed was not compared with what dvc.lock says
        return path in self._changed or (not known.up_to_date and path not in self._outs)

    def _seen(self, path: str, known: Known) -> str:
        if path in self._parsed:
            return self._parsed[path][0]
        if self._is_looked_at(path, known):
            return stamp(self._root / path)
        return self._recalled.evidence.trees.get(path, "")

    def _entry_now(self, known: Known, paths: set[str]) -> dict[str, Any] | None:
        """The step's entry if it were run with these files as they are; None if only DVC can tell."""
        entry: dict[str, Any] = copy.deepcopy(dict(known.entry or {}))
        names = {known.files[path]: path for path in paths}
        for dep in entry.get("deps", ()):
            if dep["path"] in names and not self._rehash(dep, self._root / names[dep["path"]]):
                return None
        for file, values in entry.get("params", {}).items():
            if file in names:
                said = self._params(names[file])
                for key in values:
                    values[key] = _value(said, key)
                    if values[key] is None:  # no such key; null itself is rare enough to ask DVC
                        return None
        try:
            # what is not plain JSON DVC alone knows how to compare
            return entry if json.loads(json.dumps(entry)) == entry else None
        except (TypeError, ValueError):
            return None

    def _rehash(self, dep: dict[str, Any], path: Path) -> bool:
        try:
            # a folder's hash depends on what DVC ignores, and a program's mode is a part of its entry
            is_plain = path.is_file() and not path.stat().st_mode & 0o111 and "isexec" not in dep
            if not is_plain or dep["md5"].endswith(".dir"):
                return False
            with path.open("rb") as file:
                dep["md5"] = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError:
            return False
        return True

    def _params(self, path: str) -> Any:
        if path not in self._parsed:
            from ruamel.yaml import YAML
            from ruamel.yaml.error import YAMLError

            look = stamp(self._root / path)
            try:
                said = YAML(typ="safe").load((self._root / path).read_text(encoding="utf-8"))
            except (OSError, ValueError, YAMLError):
                said = None
            self._parsed[path] = look, said
        return self._parsed[path][1]

    def _has_result(self, entry: Mapping[str, Any]) -> bool:
        key = run_cache_key(entry)
        return any((Path(self._recalled.memory.runs) / key[:2] / key).glob("*"))


def _value(said: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(said, Mapping) or name not in said:
            return None
        said = said[name]
    return said


def _is_same(now: Any, recorded: Any) -> bool:
    # None is what no key has, and 1, 1.0 and True are one to Python and three to the run-cache
    return now is not None and json.dumps(now, default=str) == json.dumps(recorded)


def run_cache_key(entry: Mapping[str, Any]) -> str:
    """The name of the folder in which DVC's run-cache keeps the results of such an entry."""
    keyed = {**entry, "outs": [out["path"] for out in entry.get("outs", ())]}
    return hashlib.sha256(json.dumps(_without(keyed), sort_keys=True).encode()).hexdigest()


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(item) for name, item in value.items() if name not in _NO_KEY}
    return [_without(item) for item in value] if isinstance(value, list) else value
