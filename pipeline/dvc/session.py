"""DVC opened and called as every use of it here needs it: its refusals put as ours, quiet, params files parsed once."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import dvc.dependency.param
import dvc.fs
import dvc.progress
import dvc_data.callbacks
from dvc.exceptions import CacheLinkError, CheckoutError, DvcException
from dvc.ignore import DvcIgnoreFilter
from dvc.repo import Repo

from recast.pipeline.core.errors import RecastError, RemoteFailed, told
from recast.pipeline.core.layout import RECIPES
from recast.pipeline.dvc import no_room
from recast.pipeline.dvc.lockfile import read_lock
from recast.pipeline.recipes.document import kind_of_file


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """DVC's refusals as ours: its messages, chained ones included, without a traceback."""
    try:
        yield
    except (DvcException, OSError) as error:  # a dependency that is missing is only an OSError in places
        said = f"dvc: {told(error)}"
        if isinstance(error, OSError) and error.errno in no_room.FULL:
            raise RecastError(said, no_room.remedy(error.errno)) from error
        if isinstance(error, ConnectionError | TimeoutError):
            raise RecastError(
                said, "see that the remote can be reached ('recast share' looks), and run it again"
            ) from error
        if hindrance := no_room.hindrance(_to_be_made(error)):
            raise RecastError(*hindrance) from error
        raise RecastError(said, "'dvc status' may say more") from error


@contextlib.contextmanager
def remote_errors(root: Path) -> Iterator[None]:
    """What goes wrong while the remote is asked, as RemoteFailed, unless it is this machine's.

    Every kind of remote has errors of its own, of which only some are known to DVC.
    """
    try:
        yield
    except (RecastError, CheckoutError, CacheLinkError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and (error.errno in no_room.FULL or _is_below(root, error.filename)):
            raise
        raise RemoteFailed(
            f"the remote cannot be asked: {told(error)}",
            "see that it can be reached ('recast share' looks), or run without it",
        ) from error


def _is_below(root: Path, name: object) -> bool:
    return isinstance(name, str) and Path(name).is_relative_to(root)


def _to_be_made(error: Exception) -> list[Path]:
    """The files that DVC could not make."""
    if isinstance(error, CacheLinkError):
        return [Path(path) for path in error.fs_paths]
    return [Path(str(path)).absolute() for path in error.target_infos] if isinstance(error, CheckoutError) else []


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Have DVC read a params file again only when it has changed: it would parse it for every stage, several times."""
    original = dvc.dependency.param.load_path
    dvc.dependency.param.load_path = _load_params
    try:
        yield
    finally:
        dvc.dependency.param.load_path = original


_load_path = dvc.dependency.param.load_path
_parsed: dict[str, tuple[object, Any]] = {}


def _load_params(path: str, fs: Any, **options: Any) -> Any:
    return _once_a_change(path, lambda: _load_path(path, fs, **options))


def recorded(stage: Any) -> Mapping[str, Any]:
    """The stage's entry in dvc.lock; empty if it has none. DVC itself would parse the file for every stage."""
    path = Path(stage.path).with_suffix(".lock")
    if not path.exists():
        return {}
    entry: Mapping[str, Any] = _once_a_change(str(path), lambda: read_lock(path))["stages"].get(stage.name) or {}
    return entry


def _once_a_change(path: str, read: Callable[[], Any]) -> Any:
    found = Path(path).stat()
    stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
    known = _parsed.get(path)
    if known is None or known[0] != stamp:
        known = _parsed[path] = (stamp, read())
    return known[1]


def quieten(say: Callable[[str], None]) -> None:
    """DVC's warnings become the run's messages; its progress bars would break the run's display."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            # of a killed run's claims, which it has removed: nothing to do, and one for each file
            is_removed = "Auto removed it from the lock file" in text
            # most packages begin with such a file
            is_package = text.endswith("__init__.py' is empty.")
            if not (is_removed or is_package):
                say(f"dvc: {text}")

    class Transfers(logging.Handler):
        """Of what could not be fetched or sent, the first: one file after the other would fail for the same reason."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.msg not in kinds:
                kinds.add(record.msg)
                reason = record.exc_info and record.exc_info[1]
                say(f"dvc: {record.getMessage()}{f': {told(reason)}' if reason else ''}")

    kinds: set[str] = set()
    # that the remote lacks something is only a warning there, and what then happens is said anyway
    handlers = {
        "dvc": Handler(logging.WARNING),
        "dvc_data": Transfers(logging.ERROR),
        "dvc_objects": Transfers(logging.ERROR),
    }
    for name, handler in handlers.items():
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.WARNING)
        logger.propagate = False
    # bars are drawn only where this level lets errors through
    for bars in (dvc.progress, dvc_data.callbacks):
        bars.logger.setLevel(logging.CRITICAL)


class PlainFiles(DvcIgnoreFilter):  # type: ignore[misc]
    """Leaves out of recipes/ what is no file, or has no name: DVC would wait for a FIFO, and stop at a dead link."""

    def __call__(self, root: str, dirs: Any, files: Any, **kwargs: Any) -> Any:
        dirs, files = super().__call__(root, dirs, files, **kwargs)
        if self.fs.isin_or_eq(root, str(Path(self.root_dir) / RECIPES)):
            files = [name for name in files if name.isprintable() and (Path(root) / name).is_file()]
        return dirs, files

    def walk(self, fs: Any, path: Any, **kwargs: Any) -> Iterator[Any]:
        """DVC's walk, which stops at what would be waited for; not over the repository, of which nothing is read."""
        for root, dirs, files in super().walk(fs, path, **kwargs):
            if str(path) != str(self.root_dir):
                for name in files:
                    refuse_endless(Path(root) / name, Path(str(self.root_dir)))
            yield root, dirs, files


def refuse_endless(path: Path, root: Path) -> None:
    """RecastError for a FIFO, a socket or a device, which DVC would wait for."""
    try:
        mode = path.stat().st_mode
    except OSError:  # a dead link, or gone meanwhile, which DVC says itself
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        raise RecastError(
            f"'{shown}' is {kind_of_file(mode)}, not a file or folder", "remove it, or put a plain file in its place"
        )


# by name, as DVC adds to this table itself: nobody waits for asyncssh or botocore who has no remote of that kind
dvc.fs.known_implementations["ssh"]["class"] = "recast.pipeline.dvc.kept_alive.SSHFileSystem"
dvc.fs.known_implementations["s3"]["class"] = "recast.pipeline.dvc.s3_remote.S3FileSystem"


class PlainFilesRepo(Repo):  # type: ignore[misc]
    """DVC's own, for which a recipe that cannot be read stands in nobody's way, nor a user without a name."""

    def __init__(self, root: str) -> None:
        try:
            getpass.getuser()
        except (KeyError, OSError):  # as in a container: DVC asks for it
            os.environ["LOGNAME"] = f"user-{os.getuid()}"
        super().__init__(root)

    @cached_property
    def dvcignore(self) -> DvcIgnoreFilter:
        return PlainFiles(self.fs, self.root_dir)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Any]:
    quieten(lambda text: None)
    with readable_errors():
        repo = PlainFilesRepo(str(root))
        try:
            yield repo
        finally:
            repo.close()
