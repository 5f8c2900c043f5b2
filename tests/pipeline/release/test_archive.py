"""Archives of releases: the same bytes each time, and no byte in them that is not as it was written."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.release.archive import Damaged, pack, unpack

FILES = {"a": b"one", "folder/b": b"x" * 1500, "folder/ü": b""}
LIMIT = 2**20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "files"


def laid(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpacked(archive: Path, to: Path, limit: int = LIMIT) -> dict[str, bytes]:
    to.mkdir()
    unpack(archive, to, limit)
    return laid(to)


@pytest.mark.parametrize("name", ["r.tar", "r.tar.gz", "r.tgz"])
def test_what_is_packed_comes_out_and_the_bytes_are_the_same_each_time(folder, tmp_path, name):
    pack(folder, list(FILES), "top", tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert unpacked(tmp_path / name, tmp_path / "out") == FILES
    os.utime(folder / "a", (1, 1))
    (folder / "a").chmod(0o600)
    time.sleep(0.01)
    pack(folder, sorted(FILES, reverse=True), "top", tmp_path / name)
    assert (tmp_path / name).read_bytes() == first
    # another program reads it as well
    with tarfile.open(tmp_path / name) as archive:
        assert {info.name for info in archive} == {f"top/{name}" for name in FILES}
        assert all(info.mtime == info.uid == info.gid == 0 and info.mode == 0o644 for info in archive)


def test_every_changed_byte_of_an_archive_is_noticed_or_is_in_a_file(folder, tmp_path):
    pack(folder, list(FILES), "top", tmp_path / "r.tar")
    whole = (tmp_path / "r.tar").read_bytes()
    refused = kept = 0
    for at in range(0, len(whole), 41):
        (tmp_path / "c.tar").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = unpacked(tmp_path / "c.tar", tmp_path / f"out{at}")
        except Damaged:
            refused += 1
        else:
            kept += 1
            assert found != FILES  # which the checksums say
    assert refused and kept


@pytest.mark.parametrize("name", ["r.tar", "r.tar.gz"])
def test_an_archive_that_is_cut_off_or_goes_on_is_refused(folder, tmp_path, name):
    pack(folder, list(FILES), "top", tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for number, content in enumerate(
        [whole[: len(whole) // 2], whole[:-1], whole[:3], b"", whole + b"\0", whole + whole]
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Damaged):
            unpacked(tmp_path / name, tmp_path / f"out{number}")


def archive_of(path: Path, *infos: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for info, content in infos:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(
    name: str, kind: bytes = tarfile.REGTYPE, to: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b""


@pytest.mark.parametrize(
    ("infos", "said"),
    [
        ([member("top/../../evil")], "would lie outside"),
        ([member("../evil")], "would lie outside"),
        ([member("/tmp/evil")], "would lie outside"),
        ([member("top/./a")], "would lie outside"),
        ([member("top/a\\b")], "would lie outside"),
        ([member("top/link", tarfile.SYMTYPE, "/etc")], "is a link"),
        ([member("top/link", tarfile.LNKTYPE, "/etc/passwd")], "is a link"),
        ([member("top/pipe", tarfile.FIFOTYPE)], "no plain file"),
        ([member("top/folder", tarfile.DIRTYPE)], "is a folder"),
        ([member("top/a"), member("top/a")], "twice"),
        ([member("top/b"), member("top/a")], "not in order"),
        ([member("top/a"), member("top/a/b")], "a file and a folder at once"),
        ([member("one/a"), member("two/a")], "the one folder"),
        ([member("a")], "the one folder"),
    ],
)
def test_a_name_or_a_kind_that_could_do_harm_is_refused_and_nothing_lies_outside(tmp_path, infos, said):
    path = archive_of(tmp_path / "r.tar", *infos)
    for info, _ in infos:
        info.mode = 0o644
    with pytest.raises(Damaged, match=said):
        unpacked(path, tmp_path / "out")
    assert {one.name for one in tmp_path.iterdir()} == {"r.tar", "out"}


def test_a_bomb_is_stopped_at_the_bound(tmp_path):
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("top/a")
        info.size = 16 * 2**20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with (tmp_path / "r.tar.gz").open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write(whole.getvalue())
    assert (tmp_path / "r.tar.gz").stat().st_size < 2**18
    with pytest.raises(Damaged, match="more than"):
        unpacked(tmp_path / "r.tar.gz", tmp_path / "out")
    assert not laid(tmp_path / "out")
    # a record that a reader would hold in memory is none that a release has
    with tarfile.open(tmp_path / "p.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("top/" + "n" * 300))
    with pytest.raises(Damaged):
        unpacked(tmp_path / "p.tar", tmp_path / "out2")


def test_a_name_too_long_for_an_archive_says_what_to_do(tmp_path):
    (tmp_path / ("n" * 200)).write_bytes(b"")
    with pytest.raises(RecastError, match="release into a folder"):
        pack(tmp_path, ["n" * 200], "top", tmp_path / "r.tar")
