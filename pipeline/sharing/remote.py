"""What `recast share` asks of DVC: its configuration, the links that work here, and what the remote holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recast.pipeline.core.errors import RecastError, told
from recast.pipeline.dvc.checked_cache import Checks
from recast.pipeline.dvc.session import opened, recorded

# how often what was found out of the cache is kept: who asks may end this at any moment
_KEEP_SECONDS = 2.0


@dataclass(frozen=True)
class Settings:
    """What DVC's configuration says of sharing; a level is where it says so: repo, local, global or system."""

    remote: str
    """the default remote's name; empty if there is none"""
    remote_levels: frozenset[str]
    """the levels that name the default remote or say where it is"""
    url: str
    secrets: tuple[str, ...]
    """options in the committed configuration that hold a secret"""
    link_types: tuple[str, ...]
    link_types_level: str
    shared: str
    cache: Path


_SECRETS = frozenset(
    {
        *("password", "passphrase", "secret_access_key", "session_token", "account_key", "sas_token"),
        *("connection_string", "client_secret", "gdrive_client_secret", "oss_key_secret", "token"),
    }
)


def settings(root: Path) -> Settings:
    """The configuration of sharing, all levels merged. Raises RecastError where DVC cannot read it."""
    with opened(root) as repo:
        config = repo.config
        levels = {level: config.load_one(level) for level in config.LEVELS if level in config.files}
        name = config["core"].get("remote", "")
        remotes = {level: set(values["remote"].get(name.lower(), ())) for level, values in levels.items()}
        named = [level for level, values in levels.items() if "remote" in values["core"]]
        located = [level for level in levels if "url" in remotes[level]]
        typed = [level for level, values in levels.items() if "type" in values["cache"]]
        if name and not located:
            raise RecastError(
                f"DVC's default remote '{name}' is configured nowhere", f"add it: 'dvc remote add {name} WHERE'"
            )
        committed = {option for remote in levels["repo"]["remote"].values() for option in remote}
        return Settings(
            remote=name,
            remote_levels=frozenset({named[-1], located[-1]} if name else ()),
            url=config["remote"][name.lower()]["url"] if name else "",
            secrets=tuple(sorted(committed & _SECRETS)),
            link_types=tuple(repo.cache.local.cache_types),
            link_types_level=typed[-1] if typed else "",
            shared=config["cache"].get("shared") or "",
            cache=Path(repo.cache.local.path),
        )


def working_links(root: Path, types: Iterable[str]) -> list[str]:
    """Which of the link types work from the cache to the repository, by making them. Raises OSError if none can be."""
    from dvc_objects.fs.generic import test_links

    with opened(root) as repo:
        cache, fs = repo.cache.local, repo.fs
    # the link is made beside the last argument
    return [str(link) for link in test_links(list(types), cache.fs, cache.path, fs, str(root / "any"))]


def ask_remote(root: Path) -> Iterator[dict[str, Any]]:
    """Facts on the default remote, each as soon as it is known: `exists`, `writable`, `lacks`, `lacks_runs`, `nowhere`.

    The names are stages' (or .dvc files'); `nowhere` is what this machine lacks too. Then `damaged_here`, stages with
    something damaged in this machine's cache, and, of a remote in a folder, `damaged_there`, paths of its files. An
    `error` comes last.
    """
    try:
        with opened(root) as repo:
            remote = repo.cloud.get_remote()
            yield {"exists": _remote_exists(remote)}
            yield from _remote_is_writable(remote)
            yield from _remote_lacks(repo, remote)
            yield from _damage(root, repo, remote)
    except ImportError as error:  # DVC has no other sign for a plugin that is not installed
        yield {"error": str(error), "plugin": f"dvc-{urlsplit(settings(root).url).scheme}"}
    except Exception as error:  # every file system has errors of its own
        yield {"error": told(error)}


def _remote_exists(remote: Any) -> bool:
    if remote.fs.protocol in ("http", "https"):
        # its `exists` takes a server that does not answer for an absent file
        with contextlib.suppress(FileNotFoundError):
            remote.fs.fs.cat_file(remote.path)
        return True
    return bool(remote.fs.exists(remote.path))


def _remote_is_writable(remote: Any) -> Iterator[dict[str, Any]]:
    if remote.fs.protocol in ("http", "https"):
        return
    if remote.fs.protocol in ("local", "ssh") and not remote.fs.exists(remote.path):
        return  # the attempt would make the folder
    # a fixed name: what a lost connection leaves behind stays one empty file
    attempt = remote.fs.join(remote.path, ".recast-share")
    try:
        remote.fs.pipe_file(attempt, b"")
        with contextlib.suppress(FileNotFoundError):  # another machine that asks just now has removed it
            remote.fs.remove(attempt)
        yield {"writable": True}
    except FileNotFoundError:
        raise  # no such bucket
    except Exception as error:
        yield {"writable": False, "refusal": told(error)}


def _remote_lacks(repo: Any, remote: Any) -> Iterator[dict[str, Any]]:
    """Whose outputs and whose run-cache entries in dvc.lock are not in the remote."""
    from dvc.fs import HTTPFileSystem
    from dvc.stage.cache import _get_cache_hash

    objects: dict[str, set[str]] = {}
    runs: dict[str, str] = {}
    for stage in repo.index.stages:
        hashed = [out for out in stage.outs if out.use_cache and out.can_push and out.hash_info]
        objects[stage.addressing] = {oid for out in hashed for oid in _objects(out, repo, remote)}
        entry = _recorded(stage)
        if entry.get("deps") and entry.get("outs") and len(hashed) == len(stage.outs):
            value = _get_cache_hash(entry)
            key = _get_cache_hash(entry, key=True)
            runs[stage.addressing] = f"runs/{key[:2]}/{key}/{value}"
    here, there = repo.cache.local, remote.odb
    wanted = set().union(*objects.values())
    absent = wanted - set(there.oids_exist(sorted(wanted)))
    lost = {oid for oid in absent if not here.exists(oid)}
    nowhere = {name for name, oids in objects.items() if oids & lost}
    yield {"results": len(runs), "lacks": sorted(name for name, oids in objects.items() if oids & absent)}
    if not isinstance(remote.fs, HTTPFileSystem):
        paths = [remote.fs.join(remote.path, *run.split("/")) for run in runs.values()]
        found = dict(zip(runs, remote.fs.exists(paths) if paths else [], strict=True))
        lacking = sorted(name for name, exists in found.items() if not exists)
        own = Path(repo.cache.legacy.path)
        nowhere |= {name for name in lacking if not (own / runs[name]).exists()}
        yield {"lacks_runs": lacking}
    yield {"nowhere": sorted(nowhere)}


def _damage(root: Path, repo: Any, remote: Any) -> Iterator[dict[str, Any]]:
    """What of the results in dvc.lock is damaged here, and in a remote that is a folder."""
    checks = Checks(root)
    here, there = repo.cache.local, remote.odb
    kept = time.monotonic()

    def damaged(odb: Any, oids: Iterable[str]) -> set[str]:
        nonlocal kept
        found = set()
        for oid in sorted(oids):
            with contextlib.suppress(FileNotFoundError):
                if not checks.is_sound(odb.oid_to_path(oid), oid, odb.hash_name):
                    found.add(oid)
            if time.monotonic() - kept > _KEEP_SECONDS:
                checks.close()
                kept = time.monotonic()
        return found

    outs = [
        (stage.addressing, out)
        for stage in repo.index.stages
        for out in stage.outs
        if out.use_cache and out.can_push and out.hash_info
    ]
    try:
        names = {name for name, out in outs if damaged(here, _objects(out, repo, remote))}
        yield {"damaged_here": sorted(names)}
        if remote.fs.protocol == "local":
            oids = {oid for _, out in outs for oid in damaged(there, _objects(out, repo, remote))}
            yield {"damaged_there": sorted(there.oid_to_path(oid) for oid in oids)}
    finally:
        checks.close()


def _recorded(stage: Any) -> dict[str, Any]:
    """The entry of dvc.lock that the run-cache has a copy of; empty where there is none."""
    if not stage.cmd or stage.always_changed or stage.is_callback or any(out.persist for out in stage.outs):
        return {}
    # not the stage itself: its command is that of dvc.yaml, which may have been edited since
    return dict(recorded(stage))


def _objects(out: Any, repo: Any, remote: Any) -> set[str]:
    """The names under which an output lies in a cache: one, or a folder's list and all it lists."""
    from dvc_data.hashfile.tree import Tree

    oid = out.hash_info.value
    if not out.hash_info.isdir:
        return {oid}
    for odb in (repo.cache.local, remote.odb):
        with contextlib.suppress(Exception):  # absent, or damaged: then the list is what is missing
            return {oid, *(entry.value for _, _, entry in Tree.load(odb, out.hash_info))}
    return {oid}


def know_remote(root: Path, clone: Path) -> None:
    """Tell another checkout of the repository what git does not carry of its remotes, a folder by its whole path."""
    with opened(root) as repo, opened(clone) as other:
        known = {name: dict(options) for name, options in repo.config["remote"].items()}
        chosen = repo.config["core"].get("remote")
        with other.config.edit("local") as local:
            for name, options in known.items():
                local.setdefault("remote", {})[name] = options
            if chosen:
                local.setdefault("core", {})["remote"] = chosen
