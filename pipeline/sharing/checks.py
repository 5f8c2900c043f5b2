"""What sharing results needs, checked, and mended where that takes no decision of the team's."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.git import git, git_or_none
from recast.pipeline.core.layout import import_folder, launcher
from recast.pipeline.core.listed import listed
from recast.pipeline.sharing import remote
from recast.pipeline.sharing.remote import Settings

ATTRIBUTES = ".gitattributes"
DRIVER = "recast-lock"
ATTRIBUTE_LINE = f"dvc.lock merge={DRIVER}"
TEAM_LINKS = "reflink,symlink,copy"
REMOTE_SECONDS = 30.0
PUSH = "run 'dvc push --run-cache'"


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One thing that sharing needs: what was found, and what to do about it."""

    name: str
    state: State
    found: str
    remedy: str = ""
    fixable: bool = False
    """whether `fix` can do it"""
    fixed: bool = False
    """whether `fix` did it just now"""


def checks(root: Path, *, seconds: float = REMOTE_SECONDS) -> list[Check]:
    """Every check; the remote gets so many seconds to answer. Raises RecastError outside a DVC repository."""
    settings = remote.settings(root)
    found = [_default_remote(root, settings)]
    if settings.remote:
        found += remote_checks(settings, *_ask_remote(root, seconds))
    return [*found, _links(root, settings), _merge_driver(root)]


def local_checks(root: Path) -> list[Check]:
    """The checks that ask nothing of the remote. Raises RecastError outside a DVC repository."""
    settings = remote.settings(root)
    return [_default_remote(root, settings), _links(root, settings), _merge_driver(root)]


def fix(root: Path, found: Iterable[Check]) -> list[Check]:
    """Mend what can be mended without inventing anything, and give the checks as they are then; pushes nothing."""
    mends: Mapping[str, tuple[Callable[[Path], None], Callable[[Path], Check]]] = {
        "cache links": (_set_links, lambda root: _links(root, remote.settings(root))),
        "merge driver": (install_merge_driver, _merge_driver),
    }
    after = []
    for check in found:
        if check.fixable:
            mend, look_again = mends[check.name]
            mend(root)
            now = look_again(root)
            check = replace(now, fixed=not now.fixable)
        after.append(check)
    return after


def as_text(found: Iterable[Check]) -> str:
    """The checks as lines for people, remedies below what they are for."""
    lines = []
    for check in found:
        lines.append(f"{'fixed' if check.fixed else check.state.value:8} {check.name}: {check.found}")
        if check.remedy:
            lines.append(f"{'':8} -> {check.remedy}{' (--fix does it)' if check.fixable else ''}")
    return "\n".join(lines)


def as_json(found: Iterable[Check]) -> str:
    """For tools."""
    kept = ("name", "state", "found", "remedy", "fixable", "fixed")
    return json.dumps([{key: getattr(check, key) for key in kept} for check in found], indent=2)


def is_sound(found: Iterable[Check]) -> bool:
    """Whether nothing found keeps people from sharing."""
    return all(check.state is not State.PROBLEM for check in found)


# -- the remote


def _default_remote(root: Path, settings: Settings) -> Check:
    name = "default remote"
    if not settings.remote:
        return Check(
            name,
            State.PROBLEM,
            "none is configured",
            "run 'dvc remote add --default NAME WHERE' and commit .dvc/config; WHERE is a folder, ssh://..., s3://...",
        )
    shown = f"'{settings.remote}' at {_without_password(settings.url)}"
    if settings.secrets or _without_password(settings.url) != settings.url:
        options = ", ".join(settings.secrets) or "a password in the URL"
        return Check(
            name,
            State.PROBLEM,
            f"{shown}; .dvc/config, which git carries, holds {options}",
            "move that with 'dvc remote modify --local' to .dvc/config.local, and change what has been committed",
        )
    if private := settings.remote_levels - {"repo"}:
        where = ", ".join(sorted(private))
        return Check(
            name,
            State.WARNING,
            f"{shown}, as configured on this machine only ({where}); who clones the repository does not have it",
            f"run 'dvc remote add --force --default {settings.remote} WHERE' and commit .dvc/config",
        )
    if _git(root, "status", "--porcelain", "--", ".dvc/config"):
        return Check(
            name, State.WARNING, f"{shown}, but .dvc/config has changes that are not committed", "commit .dvc/config"
        )
    return Check(name, State.OK, shown)


def _without_password(url: str) -> str:
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1@", url)


def _ask_remote(root: Path, seconds: float) -> tuple[dict[str, Any], bool]:
    """What `remote.ask_remote` found in time, and whether it came to an end."""
    command = [sys.executable, "-P", "-m", "recast.pipeline.sharing.remote_probe", str(root)]
    path = os.pathsep.join(filter(None, [str(import_folder(root)), os.environ.get("PYTHONPATH", "")]))
    # a session of its own: a plugin that wants to ask for a password finds no terminal
    asked = subprocess.Popen(
        command,
        cwd=root,  # DVC names files from there
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complaint = asked.communicate(timeout=seconds)
        ended = True
    except subprocess.TimeoutExpired:
        asked.kill()
        said, complaint = asked.communicate()
        ended = False
    finally:
        asked.kill()
    facts: dict[str, Any] = {}
    for line in said.splitlines():
        facts.update(json.loads(line))
    if ended and asked.returncode:
        raise RuntimeError(f"the process that asks the remote ended with {asked.returncode}: {complaint}")
    return facts, ended


def remote_checks(settings: Settings, facts: Mapping[str, Any], ended: bool) -> Iterator[Check]:
    """The checks that rest on what the remote said, or on its silence."""
    url = _without_password(settings.url)
    if "exists" not in facts:
        yield _unreachable(settings, url, facts, ended)
        return
    if "error" in facts and "lacks" not in facts:
        yield Check("remote", State.PROBLEM, f"answers, but: {facts['error']}", f"check {url} and your credentials")
        return
    if not facts["exists"]:
        yield Check(
            "remote",
            State.WARNING,
            f"{url} does not exist yet; the first push makes it",
            "if results were pushed before, check the address, and that the disk is mounted",
        )
    elif not facts.get("writable", True):
        yield Check(
            "remote",
            State.WARNING,
            f"can be read, not written: {facts['refusal']}",
            "to push from this machine, ask for the right to write",
        )
    else:
        yield Check("remote", State.OK, "can be read and written" if "writable" in facts else "can be read")
    if "nowhere" not in facts:
        reason = facts.get("error", "it took too long")
        yield Check("results", State.WARNING, f"what the remote holds is not known: {reason}", "try again")
        return
    yield from _contents(facts)
    yield from _damage(facts)


def _damage(facts: Mapping[str, Any]) -> Iterator[Check]:
    name = "damage"
    if here := facts.get("damaged_here"):
        found = f"damaged in this machine's cache: the outputs of {listed(here)}"
        yield Check(name, State.PROBLEM, found, "run 'recast run', which puts that right, before anything is pushed")
    if there := facts.get("damaged_there"):
        found = f"damaged in the remote: {listed(there)}"
        yield Check(name, State.PROBLEM, found, "delete these files there, and where the results were made, push again")
    if here or there:
        return
    if "damaged_here" not in facts:
        reason = facts.get("error", "it takes longer than this may take")
        yield Check(name, State.WARNING, f"not everything could be hashed: {reason}", "ask again, to go on from there")
    elif "damaged_there" in facts:
        yield Check(name, State.OK, "what is here and in the remote of everything in dvc.lock is what its hash says")
    else:
        found = (
            "what is here of everything in dvc.lock is what its hash says; the remote's files are hashed when fetched"
        )
        yield Check(name, State.OK, found)


def _unreachable(settings: Settings, url: str, facts: Mapping[str, Any], ended: bool) -> Check:
    if not ended:
        return Check("remote", State.PROBLEM, f"{url} does not answer", "check the address and the network, or VPN")
    error = str(facts["error"])
    if plugin := facts.get("plugin"):
        return Check(
            "remote",
            State.PROBLEM,
            f"DVC lacks the plugin for {url}",
            f"run '.venv/bin/python -m pip install {plugin}'",
        )
    if re.search(r"credential|denied|forbidden|authenti|permission|token|\b40[13]\b", error, re.IGNORECASE):
        remedy = f"check your credentials; 'dvc remote modify --local {settings.remote} ...' keeps them out of git"
    else:
        remedy = "check the address and the network, or VPN"
    return Check("remote", State.PROBLEM, f"{url} cannot be reached: {error}", remedy)


def _contents(facts: Mapping[str, Any]) -> Iterator[Check]:
    nowhere = set(facts["nowhere"])
    if not facts["results"] and not facts["lacks"]:
        yield Check("results", State.OK, "dvc.lock records none yet")
        return
    yield _held("results", "outputs", facts["lacks"], nowhere)
    if "lacks_runs" in facts:
        yield _held("run-cache", "run-cache entries", facts["lacks_runs"], nowhere)
    else:
        yield Check(
            "run-cache",
            State.WARNING,
            "an HTTP remote cannot hold it, so only the results in dvc.lock are shared",
            "to share the results of earlier values too, use a folder, SSH or a cloud store",
        )


def _held(name: str, what: str, lacking: list[str], nowhere: set[str]) -> Check:
    if not lacking:
        return Check(name, State.OK, f"the {what} of everything in dvc.lock are in the remote")
    lost = [stage for stage in lacking if stage in nowhere]
    found = f"not in the remote: the {what} of {listed(lacking)}"
    if len(lost) == len(lacking):
        return Check(
            name, State.WARNING, f"{found}; nor are they here", f"where they were made, {PUSH}, or make them anew"
        )
    rest = f"; {listed(lost)} not here either" if lost else ""
    return Check(name, State.WARNING, found + rest, PUSH)


# -- the cache


def _links(root: Path, settings: Settings) -> Check:
    name = "cache links"
    types = settings.link_types
    configured = ", ".join(types)
    if "hardlink" in types and settings.shared == "group":
        return Check(
            name,
            State.PROBLEM,
            "cache.type has hardlink while cache.shared is group; hard links to another user's files fail",
            f"run 'dvc config {_level(settings)} cache.type {TEAM_LINKS}'",
            fixable=True,
        )
    try:
        works = remote.working_links(root, types)
    except OSError as error:
        return Check(
            name,
            State.PROBLEM,
            f"the cache at {settings.cache} cannot be written: {error.strerror or error}",
            "ask for the right to write, or choose another with 'dvc cache dir --local FOLDER'",
        )
    if not works:
        return Check(
            name,
            State.PROBLEM,
            f"none of the configured types works here ({configured})",
            f"run 'dvc config --local cache.type {TEAM_LINKS}'",
        )
    used = next(type for type in types if type in works)
    found = f"{used} (configured: {configured})"
    if used == "copy":
        found += "; artifacts take their space twice, in the cache and in the workspace"
    return Check(name, State.OK, found)


def _level(settings: Settings) -> str:
    # what lies outside the repository is not ours to change; the local level overrides it
    return "--project" if settings.link_types_level == "repo" else "--local"


def _set_links(root: Path) -> None:
    _configure(root, _level(remote.settings(root)), "cache.type", TEAM_LINKS)


# -- the merge driver of dvc.lock


def _merge_driver(root: Path) -> Check:
    name = "merge driver"
    if _git(root, "rev-parse", "--git-dir") is None:
        return Check(name, State.PROBLEM, "this is no git repository", "run 'git init', or clone the team's repository")
    attribute = (_git(root, "check-attr", "merge", "--", "dvc.lock") or "").endswith(f": {DRIVER}")
    command = _git(root, "config", "--get", f"merge.{DRIVER}.driver")
    if not attribute or command != driver_command(root):
        lacking = [] if attribute else [f"{ATTRIBUTES} does not have '{ATTRIBUTE_LINE}'"]
        lacking += [] if command == driver_command(root) else ["this clone's git does not know the driver"]
        return Check(
            name,
            State.PROBLEM,
            f"merging dvc.lock will end in conflicts: {' and '.join(lacking)}",
            f"run '{launcher(root)} share --fix'",
            fixable=True,
        )
    if _git(root, "status", "--porcelain", "--", ATTRIBUTES):
        return Check(name, State.WARNING, f"installed, but {ATTRIBUTES} is not committed", f"commit {ATTRIBUTES}")
    return Check(name, State.OK, "installed in this clone")


def driver_command(root: Path) -> str:
    """What git is to run, at the top of its work tree, to merge dvc.lock."""
    if launcher(root) == "recast":
        return "recast merge-lock %O %A %B"
    prefix = _git(root, "rev-parse", "--show-prefix") or ""
    return f"{shlex.quote(f'./{prefix}recast')} merge-lock %O %A %B"


def install_merge_driver(root: Path) -> None:
    """Have git merge dvc.lock stage by stage in this clone; the attribute is to be committed for the others."""
    if not (_git(root, "check-attr", "merge", "--", "dvc.lock") or "").endswith(f": {DRIVER}"):
        path = root / ATTRIBUTES
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        text += "\n" if text and not text.endswith("\n") else ""
        path.write_text(f"{text}{ATTRIBUTE_LINE}\n", encoding="utf-8")
    options = {"name": "dvc.lock, stage by stage", "driver": driver_command(root)}
    for option, value in options.items():
        wrong, remedy = "git cannot be configured", "see that .git/config can be written"
        git(root, "config", f"merge.{DRIVER}.{option}", value, wrong=wrong, remedy=remedy)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, without the line's end; None if it fails."""
    said = git_or_none(root, *arguments)
    return None if said is None else said.strip()


def _configure(root: Path, level: str, option: str, value: str) -> None:
    """`dvc config` of one option; the level is `--project` or `--local`."""
    command = [sys.executable, "-m", "dvc", "config", "--quiet", level, option, value]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RecastError(f"dvc cannot set {option}: {done.stderr.strip().removeprefix('ERROR: ')}")
