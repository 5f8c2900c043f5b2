"""`recast release`: everything that others need of one target, in one folder or archive, the same bytes each time."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import METRICS as MEASURED
from recast.pipeline.processes import environments
from recast.pipeline.release import files, licences, tools
from recast.pipeline.release.archive import pack
from recast.pipeline.release.bom import bom
from recast.pipeline.release.card import card
from recast.pipeline.release.layout import (
    ARCHIVES,
    BOM,
    CARD,
    CHECKSUMS,
    LICENCES,
    MANIFEST,
    METRICS,
    MODEL,
    PROVENANCE,
    as_json,
)
from recast.pipeline.release.manifest import manifest
from recast.pipeline.release.provenance import provenance
from recast.pipeline.release.subject import Subject, subject

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_VERSION = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


@dataclass(frozen=True)
class Wish:
    """What a release is to be."""

    what: str
    """RECIPE/TARGET"""
    to: Path
    """the archive, told by how its name ends, or the folder; it must not be there yet"""
    key: Path | None = None
    """the private key it is signed with"""
    version: str = ""
    """`v1.2.0`"""
    licence: str = ""
    """of the model, as SPDX calls it"""


@dataclass(frozen=True)
class Made:
    """What was made."""

    path: Path
    subject: Subject
    files: int
    unknown_licences: int
    """packages whose licence is not known"""
    packages: int
    is_signed: bool


def is_archive(path: Path) -> bool:
    """Whether a release of that name is an archive and no folder."""
    return path.name.endswith(ARCHIVES)


def release(root: Path, wish: Wish, say: Callable[[str], None], *, refuse_dirty: bool = False) -> Made:
    """Make the release. Nothing is left of it if that fails.

    Raises RecastError if the target is not up to date or not verified (`subject`), if what is wished cannot be, and if
    the key cannot sign. `refuse_dirty`: also if anything differs from the commit.
    """
    _refuse_wish(wish)
    found = subject(root, wish.what, say)
    if refuse_dirty and found.git.is_dirty:
        changes = ", ".join(found.git.changes[:3])
        raise RecastError(f"a tag is for a commit, and what is here is not of one: {changes}", "commit it first")
    used = {
        name: environments.ensure(root, name, say, compiled=False)  # what is installed is read, not run
        for name in sorted({stage.environment for stage in found.stages})
    }
    packages = {name: licences.packages(environment) for name, environment in used.items()}
    with _beside(wish.to) as place:
        folder = place / found.address.dvc_name
        _lay_model(found, folder)
        emitted = files.digests(folder, files.found(folder))
        made = manifest(found, used, wish.version, wish.licence)
        _write(folder / MANIFEST, as_json(made))
        _write(folder / LICENCES, as_json(licences.as_content(packages, wish.licence)))
        models = {name: digest for name, digest in emitted.items() if name.startswith(f"{MODEL}/")}
        _write(folder / BOM, as_json(bom(found, packages, models, wish.version, wish.licence)))
        tools.check_bom(root, folder, say)
        _write(folder / CARD, card(found, wish.version, wish.licence))
        _write(folder / PROVENANCE, as_json(provenance(made, files.digests(folder, files.found(folder)))))
        _write(folder / CHECKSUMS, files.as_text(files.digests(folder, files.summed(files.found(folder)))))
        if wish.key:
            tools.sign(root, folder, wish.key, say)
        names = list(files.found(folder))
        for name in names:
            (folder / name).chmod(0o644)
        _put(folder, names, wish.to, place)
    unknown = {one for all in packages.values() for one in all if not one.licence}
    every = {one for all in packages.values() for one in all}
    return Made(wish.to, found, len(names), len(unknown), len(every), wish.key is not None)


def _refuse_wish(wish: Wish) -> None:
    if os.path.lexists(wish.to):
        raise RecastError(f"{wish.to} is there already", "name another place, or delete it")
    if not wish.to.parent.is_dir():
        raise RecastError(f"there is no folder {wish.to.parent}", "make it first")
    if wish.version and not _VERSION.fullmatch(wish.version):
        raise RecastError(f"'{wish.version}' is no version", "write it as v1.2.0")
    if wish.licence and not _LICENCE.fullmatch(wish.licence):
        raise RecastError(f"'{wish.licence}' is no licence as SPDX calls one", "for example Apache-2.0; see spdx.org")
    if wish.key and not wish.key.is_file():
        raise RecastError(f"there is no key {wish.key}", "give the path of a PEM file")


@contextmanager
def _beside(to: Path) -> Iterator[Path]:
    """An empty folder on the same file system, deleted afterwards."""
    place = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _lay_model(subject: Subject, folder: Path) -> None:
    """The emitted folder, and what the stages measured."""
    for name in files.found(subject.emitted):
        if any(ord(letter) < 32 for letter in name):
            raise RecastError(f"{name!a} in {subject.emitting.out} has no plain name", "emit it under another")
        _copy(subject.emitted / name, folder / MODEL / name)
    for stage in subject.stages:
        _copy(subject.root / stage.out / MEASURED, folder / METRICS / f"{stage.id.partition('/')[2]}.json")


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _put(folder: Path, names: list[str], to: Path, place: Path) -> None:
    if is_archive(to):
        archive = place / to.name
        pack(folder, names, folder.name, archive)
        archive.chmod(0o666 & ~_umask())
        archive.replace(to)
    else:
        folder.rename(to)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
