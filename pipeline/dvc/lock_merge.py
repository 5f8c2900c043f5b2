"""Merges dvc.lock stage by stage: what git's merge driver `recast-lock` runs.

Git merges lines, and entries that two branches added side by side are lines in conflict. An entry
is one stage's record, so stages are what is merged here. An entry that does not fit does no harm: DVC
compares hashes, and restores or runs the stage. So a stage both branches ran keeps one entry, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.pipeline.core.layout import DEVICE_STAGE, GUARD
from recast.pipeline.dvc.lockfile import LOCK, read_lock, write_lock

Entry = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Finding:
    """What there is to say of one stage, and whether it must run again, or be restored from the run-cache."""

    stage: str
    why: str
    runs_again: bool = True

    def __str__(self) -> str:
        return f"{self.stage}: {self.why}"


@dataclass(frozen=True)
class Merged:
    """A merged lock, and what the merge could not settle."""

    document: dict[str, Any]
    findings: tuple[Finding, ...] = ()

    @property
    def runs_again(self) -> tuple[str, ...]:
        """Names of the stages that must run again, sorted."""
        return tuple(sorted({finding.stage for finding in self.findings if finding.runs_again}))


def merge_files(base: Path, ours: Path, theirs: Path) -> Merged:
    """Merge the three files git hands to a merge driver, and write the result over `ours`.

    Raises RecastError, with nothing written, if one of them is no lock; git then reports a conflict.
    """
    merged = merge(*(read_lock(path) for path in (base, ours, theirs)))
    write_lock(ours, merged.document)
    return merged


def merge(base: Mapping[str, Any], ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Merged:
    """Merge two locks that come from `base`, which is empty where both sides added the file."""
    findings: list[Finding] = []
    document: dict[str, Any] = {}
    for key in dict.fromkeys([*ours, *theirs]):
        was, one, two = base.get(key), ours.get(key), theirs.get(key)
        if key == "stages":
            document[key] = _merge_stages(was or {}, one or {}, two or {}, findings)
        elif (value := _merge_other(was, one, two)) is not None:
            document[key] = value
    findings.extend(_stale_readers(document.get("stages", {})))
    return Merged(document, tuple(sorted(findings)))


def _merge_other(base: Any, ours: Any, theirs: Any) -> Any:
    """What is no stage: data sets by name, the rest as a whole; ours where both sides changed it."""
    if all(_is_named_list(side) for side in (base, ours, theirs)):
        by_name = [{item["name"]: item for item in side or []} for side in (base, ours, theirs)]
        names = dict.fromkeys([*by_name[1], *by_name[2]])
        merged = [_merge_other(*(side.get(name) for side in by_name)) for name in names]
        return [item for item in merged if item is not None] or None
    return theirs if ours == base else ours


def _is_named_list(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(item, Mapping) and "name" in item for item in value)
    )


def _merge_stages(
    base: Mapping[str, Entry], ours: Mapping[str, Entry], theirs: Mapping[str, Entry], findings: list[Finding]
) -> dict[str, Entry]:
    merged: dict[str, Entry] = {}
    for name in sorted({*ours, *theirs}):
        was, one, two = base.get(name), ours.get(name), theirs.get(name)
        entry = one
        if one == was:
            entry = two
        elif one is None or two is None:
            if two != was:  # else only ours changed it
                entry = one or two
                findings.append(Finding(name, "one branch ran it, the other removed it; the result is kept"))
        elif two not in (was, one):
            findings.append(_both_ran(name, one, two))
        if entry is not None:
            merged[name] = entry
    return merged


def _both_ran(name: str, ours: Entry, theirs: Entry) -> Finding:
    inputs = [*_differing(ours, theirs)]
    if inputs:
        return Finding(name, f"both branches ran it, with different {', '.join(inputs)}; git's 'ours' is kept")
    return Finding(
        name,
        "both branches ran it with equal inputs, but its outputs differ: it is not deterministic; git's 'ours' is kept",
        runs_again=False,
    )


def _differing(ours: Entry, theirs: Entry) -> Iterator[str]:
    """The inputs two runs of a stage differ in, in words."""
    if ours["cmd"] != theirs["cmd"]:
        yield "commands"
    one, two = ({dep["path"]: dep for dep in entry.get("deps") or []} for entry in (ours, theirs))
    yield from (f"'{path}'" for path in sorted({*one, *two}) if one.get(path) != two.get(path))
    one, two = (_flat(entry.get("params") or {}) for entry in (ours, theirs))
    yield from (
        f"{key} in {file}" for file, key in sorted({*one, *two}) if one.get((file, key)) != two.get((file, key))
    )


def _flat(params: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
    # a tuple around the value: an absent key differs from one that is null
    return {(file, key): (value,) for file, values in params.items() for key, value in values.items()}


def _stale_readers(stages: Mapping[str, Entry]) -> Iterator[Finding]:
    """Stages that read an output in another state than the stage that makes it has recorded."""
    # what device.txt says is the machine's choice, and no lock's
    makers = {name: entry for name, entry in stages.items() if name != DEVICE_STAGE}
    made = {out["path"]: (name, out) for name, entry in makers.items() for out in entry.get("outs") or []}
    for name, entry in stages.items():
        for dep in entry.get("deps") or []:
            maker, out = made.get(dep["path"], ("", dep))
            # entries of DVC 2 hash text files in another way; DVC then looks for itself
            if maker != name and out.get("hash") == dep.get("hash") and _content(out) != _content(dep):
                yield Finding(name, f"it read '{dep['path']}' as it was before '{maker}' made it anew")


def _content(item: Mapping[str, Any]) -> Any:
    return item.get(item.get("hash", "md5"))


def as_text(merged: Merged) -> str:
    """What a merge is to say, for people; empty where it settled everything."""
    # the guard runs at every edit of a recipe, and takes no time
    again = set(merged.runs_again) - {GUARD, DEVICE_STAGE}
    lines = [f"  {finding}" for finding in merged.findings if finding.stage not in (GUARD, DEVICE_STAGE)]
    if again:
        count = "1 stage" if len(again) == 1 else f"{len(again)} stages"
        head = f"{LOCK} is merged; {count} must run again, or come from the run-cache:"
        return "\n".join(
            [head, *lines, "finish the merge in git, then 'recast run' (or 'dvc repro') and commit the lock"]
        )
    return "\n".join([f"{LOCK} is merged; nothing has to run again", *lines]) if lines else ""
