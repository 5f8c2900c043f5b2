"""What a stage reads that DVC runs: it must be what DVC takes it for, before and after.

DVC hashes what a stage has read when it has ended, and remembers hashes by modification time. So it would record an
edit made meanwhile as if the stage had been run with it, and a file that it restored damaged as the intact one.
`recast run` needs none of this: it notes what a stage reads before it starts, and restores nothing unseen; see
`noted_reads.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError, StageFailed
from recast.pipeline.core.layout import RECORD
from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.lockfile import LOCK, read_lock
from recast.pipeline.dvc.remembered import stamp
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.planning.stage_sections import sections
from recast.pipeline.processes.stage_call import withdraw


class StageReads:
    """What a stage reads, as it was when this was made."""

    def __init__(self, root: Path, plan: Plan, stage: PlannedStage) -> None:
        self._root = root
        self._plan = plan
        self._stage = stage
        self._said = sections(root, stage)
        self._recorded = _of_record(root, stage)
        deps = dvcfile.stage_entry(plan, stage)["deps"]
        self._stamps = {path: stamp(root / path) for path in deps}
        self._hashes = {path: content_hash(root / path) for path in deps}

    def refuse_damaged(self) -> None:
        """Raise RecastError if an input is not what dvc.lock says, and DVC does not know it."""
        recorded = read_lock(self._root / LOCK)["stages"]
        for id in self._stage.inputs.values():
            maker = self._plan.stages[id]
            outs = recorded.get(maker.dvc_name, {}).get("outs") or ()
            said = {out["path"]: out.get("md5") for out in outs}.get(maker.out)
            if said in (None, self._hashes[maker.out]):
                continue
            from recast.pipeline.dvc.inspection import believed_hash

            if believed_hash(self._root, maker.out) == said:
                command = Address(self._stage.recipe).run_command(self._root)
                raise RecastError(
                    f"{maker.out} is damaged: its files are not what dvc.lock says, though DVC takes them for that",
                    f"run '{command}', which sets what is damaged aside and puts it right",
                )

    def refuse_edited(self) -> None:
        """Take the stage's output away and raise StageFailed if something it reads was edited since."""
        edited = [path for path, seen in self._stamps.items() if self._was_edited(path, seen)]
        if sections(self._root, self._stage) != self._said:
            edited.append(f"what the recipes say of '{self._stage.id}'")
        if _of_record(self._root, self._stage) != self._recorded:
            edited.append(f"what {RECORD} says of '{self._stage.id}'")
        if edited:
            kept = withdraw(self._root, self._stage)
            raise StageFailed(
                f"stage '{self._stage.id}' failed: {', '.join(edited)} was edited while it ran, and DVC would record "
                "the result as made from that",
                f"run the command again; what it made is in {kept}; 'recast run' runs such a stage again by itself",
            )

    def _was_edited(self, path: str, seen: str) -> bool:
        return stamp(self._root / path) != seen and content_hash(self._root / path) != self._hashes[path]


def _of_record(root: Path, stage: PlannedStage) -> dict[str, Any] | None:
    """What the record of installed code says of the stage, which DVC tracks; None if it cannot be read."""
    keys = [key for file, key in stage.tracked if file == RECORD]
    if not keys:
        return {}
    try:
        record = YAML(typ="safe").load((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return None
    found = {}
    for key in keys:
        value = record
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        found[key] = value
    return found


def content_hash(path: Path) -> str:
    """The hash DVC has for a file or a folder (MD5; of a folder, that of the list of its files' hashes, with `.dir`).

    Empty if it is not there.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if not path.is_dir():
        return ""
    files = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    listed = [{"md5": content_hash(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    text = json.dumps(sorted(listed, key=lambda entry: entry["relpath"]), sort_keys=True)
    return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"
