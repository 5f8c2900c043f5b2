"""What is damaged in DVC's cache: said, moved out of it, and put right where an intact copy is to be had."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dvc.config import NoRemoteError
from dvc_data.hashfile.state import StateNoop
from dvc_data.hashfile.transfer import transfer

from recast.pipeline.core.errors import told
from recast.pipeline.dvc.checked_cache import Checks
from recast.pipeline.dvc.checked_cache import Damage as Damaged


class Damage:
    """Looks for it in what stages have recorded."""

    def __init__(self, repo: Any, checks: Checks, say: Callable[[str], None], shown: Callable[[str], str]) -> None:
        """`say` tells the user what was found; `shown`: a path as users write it."""
        self._repo = repo
        self._checks = checks
        self._say = say
        self._shown = shown

    def of(self, out: Any) -> Iterator[str]:
        """What of a recorded output is damaged in the cache, as users know it."""
        if not (out.use_cache and out.hash_info):
            return
        path, whole = self._shown(out.fs_path), out.hash_info.value
        if self._is_damaged(out, whole):
            yield f"the list of files in {path}" if out.hash_info.isdir else path
        elif out.hash_info.isdir and (tree := out.get_obj()):
            yield from (f"{path}/{'/'.join(key)}" for key, _, hash in tree if self._is_damaged(out, hash.value))

    def _is_damaged(self, out: Any, oid: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return not self._checks.is_sound(out.cache.oid_to_path(oid), oid, out.cache.hash_name)
        return False

    def tell(self, stage: Any, found: Iterable[Damaged], where: str = "DVC's cache") -> None:
        """Say what was found damaged, where it was and where it is now."""
        names = {name: path for out in stage.outs for name, path in self._parts(out)}
        for damage in found:
            what = "an entry of the run-cache" if damage.name.startswith("runs/") else "an earlier result"
            aside = f"; set aside as {damage.aside}" if damage.aside else ""
            self._say(f"{names.get(damage.name, what)} is damaged in {where}{aside}")

    def _parts(self, out: Any) -> Iterator[tuple[str, str]]:
        if out.use_cache and out.hash_info:
            path = self._shown(out.fs_path)
            yield out.hash_info.value, f"the list of files in {path}" if out.hash_info.isdir else path
            if out.hash_info.isdir and (tree := out.get_obj()):
                yield from ((hash.value, f"{path}/{'/'.join(key)}") for key, _, hash in tree)

    def put_right(self, stage: Any) -> bool:
        """Set aside what is damaged of a stage's recorded result, and look for it elsewhere; whether all is right."""
        if not self._checks.sets_aside:
            self._checks.take()
            return False
        for out in stage.outs:
            list(self.of(out))
        self.tell(stage, self._checks.take())
        if all(self._put_back(out) for out in stage.outs):
            self._say(f"put back into DVC's cache from what lies in {self._listed(stage)}, which is intact")
            return True
        if has_remote(self._repo):
            self._say(f"fetching {self._listed(stage)} from the remote")
            try:
                for objects in stage.get_used_objs().values():
                    self._repo.cloud.pull(objects)
            except Exception as error:  # every file system has errors of its own
                self._say(f"the remote cannot be asked: {told(error)}")
            for out in stage.outs:
                list(self.of(out))
            self.tell(stage, self._checks.take(), "the remote")
            if stage.outs_cached():
                return True
        then = "it is made again" if stage.cmd else "no stage makes it, so put it there again"
        self._say(f"no intact copy of {self._listed(stage)} was found: {then}")
        return False

    def _listed(self, stage: Any) -> str:
        return ", ".join(self._shown(out.fs_path) for out in stage.outs)

    def _put_back(self, out: Any) -> bool:
        """Whether the cache holds the recorded output, from what lies in the workspace if need be."""
        if not out.use_cache or not out.changed_cache():
            return True
        if not out.hash_info or not out.exists:
            return False
        cache = out.cache
        # what DVC remembers of its files it may have from a damaged object
        known, cache.state = cache.state, StateNoop()
        try:
            staging, _, obj = out._build(cache, out.fs_path, out.fs, out.hash_name, ignore=out.dvcignore)
            if obj.hash_info != out.hash_info:
                return False
            transfer(staging, cache, {obj.hash_info}, shallow=False)
        except FileNotFoundError:
            return False  # a link to what was set aside
        finally:
            cache.state = known
        return not out.changed_cache()


def has_remote(repo: Any) -> bool:
    """Whether DVC has a default remote."""
    with contextlib.suppress(NoRemoteError):
        repo.cloud.get_remote(None, "run")
        return True
    return False
