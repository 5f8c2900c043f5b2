"""Results on their way to the DVC remote: the outputs of stages first, then the run-cache entries that lead to them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc.fs import HTTPFileSystem
from dvc.stage.cache import _can_hash, _get_cache_hash, _get_stage_hash
from dvc.stage.loader import StageLoader
from dvc.stage.serialize import to_single_stage_lockfile

from recast.pipeline.core.errors import RecastError


def give(repo: Any, stages: Sequence[Any]) -> None:
    """Send what the remote lacks of these stages' results; it asks for all of them at once.

    An entry of the run-cache follows its outputs, so that whoever finds it finds those as well. An HTTP remote holds
    none, as with `dvc push`. Raises RecastError if something could not be sent, and what the file system raises if the
    remote cannot be reached.
    """
    wanted: dict[Any, set[Any]] = defaultdict(set)
    for stage in stages:
        for odb, found in stage.get_used_objs(push=True).items():
            wanted[odb] |= found
    for odb, found in wanted.items():
        if failed := repo.cloud.push(found, odb=odb).failed:
            count = f"{len(failed)} file{'s' if len(failed) > 1 else ''}"
            raise RecastError(
                f"{count} could not be sent to the remote, or are not in the cache", "'recast share' looks"
            )
    there = repo.cloud.get_remote_odb(None, "run --push", hash_name="md5-dos2unix")
    if not isinstance(there.fs, HTTPFileSystem):
        _give_runs(repo, there, [run for stage in stages if (run := run_of(stage))])


def _give_runs(repo: Any, there: Any, runs: Sequence[str]) -> None:
    here = Path(repo.stage_cache.cache_dir)
    runs = [run for run in runs if (here / run).is_file()]
    places = [there.fs.join(there.path, "runs", *run.split("/")) for run in runs]
    exist = there.fs.exists(places) if places else []
    for run, place, exists in zip(runs, places, exist, strict=True):
        if not exists:
            there.fs.makedirs(there.fs.parent(place), exist_ok=True)
            there.fs.put_file(str(here / run), place)  # whole or not at all, in every file system of DVC's


def key_of(stage: Any) -> str:
    """What the run-cache finds the stage's result by, for what it is noted to read; empty if that cannot hold it."""
    if not _can_hash(stage) or any(not out.use_cache for out in stage.outs if not (out.is_metric or out.is_plot)):
        return ""
    return str(_get_stage_hash(stage))


def run_of(stage: Any) -> str:
    """The place of the stage's result in the run-cache, relative to it; empty if that cannot hold it."""
    key = key_of(stage)
    return f"{key[:2]}/{key}/{_get_cache_hash(to_single_stage_lockfile(stage))}" if key else ""


def reads_of(stage: Any) -> dict[str, str]:
    """What the key is made from: dependencies with their hashes, params with their values."""
    entry = to_single_stage_lockfile(stage)
    found = {str(one["path"]): str(one.get("md5")) for one in entry.get("deps", ())}
    for path, values in entry.get("params", {}).items():
        found |= {f"{path}:{name}": json.dumps(value, sort_keys=True) for name, value in values.items()}
    return {**found, "command": str(entry["cmd"])}


def entry_of(stage: Any) -> dict[str, Any]:
    """Its entry of dvc.lock as plain values; empty for what has none."""
    if not stage.cmd:
        return {}
    entry: dict[str, Any] = json.loads(json.dumps(to_single_stage_lockfile(stage)))
    return entry


def receive(repo: Any, stage: Any, entry: Mapping[str, Any]) -> None:
    """Fetch and check out the outputs of a stage that an entry of dvc.lock names, as far as they are not there."""
    if entry:
        StageLoader.fill_from_lock(stage, dict(entry))
    outs = [out for out in stage.outs if out.use_cache]
    if all(out.exists and not out.changed_checksum() for out in outs):
        return
    for odb, found in stage.get_used_objs().items():
        repo.cloud.pull(found, odb=odb)
    for out in outs:
        if not out.exists or out.changed_checksum():
            out.checkout(force=True)
