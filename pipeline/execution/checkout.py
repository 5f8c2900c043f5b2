"""What two checkouts must have in common for one to run the other's stages: commit, no edits, pins, device, Recast."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.git import git
from recast.pipeline.core.listed import listed
from recast.pipeline.core.pins import pin_files
from recast.pipeline.core.version import described
from recast.pipeline.processes.environments import device

# what a run itself writes; its content is sent where it is needed
_WRITTEN = ("dvc.lock",)


def describe(root: Path) -> dict[str, Any]:
    """What is compared, as JSON values. Raises RecastError where git cannot say it."""

    def said(*arguments: str) -> str:
        return git(root, *arguments, wrong=f"git says nothing of {root}", remedy="--on needs a git repository")

    dirty = [line[3:] for line in said("status", "--porcelain", "--no-renames", "--", ".").splitlines()]
    pins = hashlib.sha256()
    for name, path in sorted(pin_files(root).items()):
        pins.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "commit": said("rev-parse", "HEAD").strip(),
        "folder": said("rev-parse", "--show-prefix").strip(),
        "dirty": [path for path in dirty if path.rpartition("/")[2] not in _WRITTEN],
        "pins": pins.hexdigest(),
        "device": device(root),
        "recast": described(),
    }


def differs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """In what the other checkout is another; empty if it may run our stages."""
    found = []
    if theirs.get("dirty"):
        found.append(f"it has edits that are not committed: {listed(theirs['dirty'])}")
    if theirs.get("commit") != ours["commit"]:
        found.append(f"it is at commit {str(theirs.get('commit'))[:10]}, this one at {ours['commit'][:10]}")
    for what, shown in (
        ("folder", "the project's folder"),
        ("pins", "the pins of its environments"),
        ("device", "the device in device.txt"),
        ("recast", "its version of Recast"),
    ):
        if theirs.get(what) != ours[what]:
            values = "" if what == "pins" else f" ('{theirs.get(what)}', here '{ours[what]}')"
            found.append(f"{shown} differs{values}")
    return "; ".join(found)


def refuse_dirty(described: Mapping[str, Any]) -> None:
    """RecastError if no other checkout can be the same."""
    if described["dirty"]:
        raise RecastError(
            f"workers run what is committed, and there are edits that are not: {listed(described['dirty'])}",
            "commit them (and push, and pull where the workers are), or run here, without --on",
        )
