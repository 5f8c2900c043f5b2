"""A release as one archive: the same bytes for the same files, and read without trust in what it says.

It is a POSIX ustar archive of plain files, sorted by name, each with mode 644, owner 0 and time 0. What reads it takes
this form alone, so that no other byte can be in it: no link, no device, no long-name record that a reader must hold in
memory, nothing behind the end.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from recast.pipeline.core.errors import RecastError
from recast.pipeline.release.layout import MOST_FILES

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 2**18
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
"""no name, no time, the best compression, no system"""
_NOT_OURS = "take the archive as `recast release` wrote it"


class Damaged(RecastError):
    """The archive is not one that `recast release` has written: which place, and what is wrong there."""

    def __init__(self, what: str, remedy: str = _NOT_OURS) -> None:
        super().__init__(what, remedy)


def is_gzip(path: Path) -> bool:
    """Whether an archive of that name is compressed."""
    return path.name.endswith((".gz", ".tgz"))


def pack(folder: Path, names: list[str], top: str, to: Path) -> None:
    """Write the archive of these files of the folder, as `top/NAME`. RecastError for a name that is too long for it."""
    with to.open("wb") as raw:
        if is_gzip(to):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=raw, mtime=0) as packed:
                _write(folder, names, top, packed)
        else:
            _write(folder, names, top, raw)


def _write(folder: Path, names: list[str], top: str, to: BinaryIO | gzip.GzipFile) -> None:
    written = 0
    for name in sorted(names):
        path = folder / name
        size = path.stat().st_size
        try:
            to.write(_head(f"{top}/{name}", size))
        except (ValueError, UnicodeError) as error:
            raise RecastError(f"{name} cannot be in an archive: {error}", "release into a folder") from error
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                to.write(part)
        to.write(bytes(-size % _BLOCK))
        written += _BLOCK + size + -size % _BLOCK
    to.write(_end(written))


def _head(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def _end(written: int) -> bytes:
    """Two empty blocks, and as many more as fill the last record."""
    return bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % tarfile.RECORDSIZE)


def unpack(path: Path, to: Path, most_bytes: int) -> str:
    """Lay the files of the archive into the empty folder; the name of the folder at its top.

    Raises Damaged, which says where, for any byte that `pack` would not have written, and for more files or bytes
    than are allowed. Nothing is written outside `to`, whatever names are in the archive.
    """
    try:
        with path.open("rb") as raw:
            return _unpack(
                _Stream(_inflated(raw, path.name) if is_gzip(path) else _plain(raw)), path.name, to, most_bytes
            )
    except zlib.error as error:
        raise Damaged(f"{path.name} is damaged: {error}") from error


def _unpack(stream: _Stream, archive: str, to: Path, most_bytes: int) -> str:
    seen, top, total, count, read = "", "", 0, 0, 0
    while (block := stream.take(_BLOCK, f"the end of {archive}")) != bytes(_BLOCK):
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeError, ValueError) as error:
            behind = f"behind {seen}" if seen else "at its beginning"
            raise Damaged(f"{archive} is damaged {behind}: no entry of an archive ({error})") from error
        shown = ascii(info.name)[1:-1][:200]
        _refuse_name(info, shown, archive)
        if block != _head(info.name, info.size):
            raise Damaged(f"{archive}: the entry of {shown} is not as it is written: another mode, owner, time or kind")
        if info.name <= seen:
            raise Damaged(f"{archive}: {shown} comes after {seen}: twice, or not in order")
        seen, (head, _, name) = info.name, info.name.partition("/")
        if not name or (top and head != top):
            raise Damaged(f"{archive}: {shown} does not lie in the one folder of the release")
        top, count, total = head, count + 1, total + info.size
        if count > MOST_FILES:
            raise Damaged(f"{archive} holds more than {MOST_FILES} files", "it is no release")
        if total > most_bytes:
            allowed = f"{most_bytes / 2**30:g} GiB"
            raise Damaged(f"{archive} holds more than {allowed}", "allow more with --max-size, if you know who made it")
        _lay(stream, to / name, info.size, shown)
        if any(stream.take(-info.size % _BLOCK, shown)):
            raise Damaged(f"{archive}: there is something between {shown} and what follows")
        read += _BLOCK + info.size + -info.size % _BLOCK
    rest = _end(read)[_BLOCK:]
    if any(stream.take(len(rest), f"the end of {archive}")) or stream.more():
        raise Damaged(f"{archive} has something behind its end")
    return top


def _refuse_name(info: tarfile.TarInfo, shown: str, archive: str) -> None:
    parts = PurePosixPath(info.name).parts
    plain = "/".join(parts) == info.name and not info.name.startswith("/") and "\\" not in info.name
    if not plain or any(part in (".", "..") for part in parts) or any(ord(letter) < 32 for letter in info.name):
        raise Damaged(f"{archive}: {shown} would lie outside the release, or has no plain name")
    if not info.isreg():
        kind = "a link" if info.issym() or info.islnk() else "a folder" if info.isdir() else "no plain file"
        raise Damaged(f"{archive}: {shown} is {kind}, and a release holds plain files alone")


def _lay(stream: _Stream, path: Path, size: int, shown: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            while size:
                part = stream.take(min(size, _CHUNK), shown)
                file.write(part)
                size -= len(part)
    except (FileExistsError, NotADirectoryError) as error:
        raise Damaged(f"{shown} is a file and a folder at once") from error


class _Stream:
    """Bytes in the pieces that are asked for."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._held = parts, b""

    def take(self, count: int, what: str) -> bytes:
        """So many bytes. Damaged if there are fewer."""
        while len(self._held) < count:
            part = next(self._parts, None)
            if part is None:
                raise Damaged(f"the archive is cut off within {what}")
            self._held += part
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    def more(self) -> bool:
        """Whether there are any left."""
        while not self._held:
            part = next(self._parts, None)
            if part is None:
                return False
            self._held = part
        return True


def _plain(raw: BinaryIO) -> Iterator[bytes]:
    while part := raw.read(_CHUNK):
        yield part


def _inflated(raw: BinaryIO, name: str) -> Iterator[bytes]:
    """What is compressed, a bounded piece at a time, however well it is."""
    if raw.read(len(_GZIP_HEAD)) != _GZIP_HEAD:
        raise Damaged(f"{name} does not begin as a compressed release does")
    raw.seek(0)
    inflate = zlib.decompressobj(wbits=31)
    for part in _plain(raw):
        if inflate.eof:
            raise Damaged(f"{name} has something behind its end")
        while part:
            yield inflate.decompress(part, _CHUNK)
            part = inflate.unconsumed_tail
    yield inflate.flush()
    if inflate.unused_data:
        raise Damaged(f"{name} has something behind its end")
    if not inflate.eof:
        raise Damaged(f"{name} is cut off")
