"""`recast verify-release`: whether a release is, byte by byte, what `recast release` has written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import is_name
from recast.pipeline.core.errors import RecastError
from recast.pipeline.release import files, tools
from recast.pipeline.release.archive import unpack
from recast.pipeline.release.layout import (
    ALWAYS,
    BOM,
    CHECKSUMS,
    FORMAT,
    MANIFEST,
    MODEL,
    MOST_BYTES,
    PROVENANCE,
    SIGNATURE,
)

_OTHER_COPY = "take another copy of the release"


@dataclass(frozen=True)
class Checked:
    """A release whose every byte is as it was written."""

    folder: Path
    manifest: Mapping[str, Any]
    files: int
    is_signed: bool
    signature_checked: bool
    """whether the signature was looked at, with a key"""


@contextmanager
def opened(path: Path, most_bytes: int = MOST_BYTES) -> Iterator[Path]:
    """The folder of a release, which an archive is unpacked into for as long. RecastError if it is neither."""
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise RecastError(f"there is no release {path}", "name an archive or a folder that 'recast release' wrote")
    with tempfile.TemporaryDirectory(prefix="recast-release-") as place:
        unpack(path, Path(place), most_bytes)
        yield Path(place)


def check(folder: Path) -> Checked:
    """Look at every byte but the signature's. RecastError names each file that was changed, added or removed."""
    there = files.found(folder)
    if missing := [name for name in ALWAYS if name not in there]:
        raise RecastError(f"{', '.join(missing)}: missing from the release", _OTHER_COPY)
    sums = files.read_sums((folder / CHECKSUMS).read_bytes())
    actual = files.digests(folder, files.summed(there))
    if sums != actual:
        raise RecastError("\n".join(_differences(sums, actual, _stated(folder))), _OTHER_COPY)
    manifest = _manifest(folder)
    _agree(PROVENANCE, _stated(folder), {name: sum for name, sum in actual.items() if name != PROVENANCE})
    models = {name: sum for name, sum in actual.items() if name.startswith(f"{MODEL}/")}
    _agree(BOM, _in_bom(folder), models)
    return Checked(folder, manifest, len(there), SIGNATURE in there, False)


def verify(
    root: Path, folder: Path, key: Path | None, say: Callable[[str], None], *, without_signature: bool = False
) -> Checked:
    """`check`, and the signature with the public key.

    Raises RecastError besides if it is signed and no key is given, unless `without_signature`; and if a key is given
    and it is not signed by that.
    """
    checked = check(folder)
    if key is None:
        if checked.is_signed and not without_signature:
            remedy = "give the public key of who signed it with --key, or say --no-signature to leave it unlooked at"
            raise RecastError(f"the release is signed ({SIGNATURE}), and without a key nobody knows by whom", remedy)
        return checked
    if not checked.is_signed:
        raise RecastError("the release is not signed", "ask for one that is, or leave out --key")
    tools.verify(root, folder, key, say)
    return Checked(folder, checked.manifest, checked.files, True, True)


def _differences(sums: Mapping[str, str], actual: Mapping[str, str], stated: Mapping[str, str]) -> Iterator[str]:
    """What differs, a line for each; where the provenance bears a file out, it is its checksum that was changed."""
    for name in sorted({*sums, *actual}):
        is_known = name in stated or name in ALWAYS
        if name not in actual and is_known:
            yield f"{name}: missing from the release"
        elif name not in actual:
            yield f"{CHECKSUMS}: was changed, it speaks of {name}, which {PROVENANCE} does not"
        elif name not in sums and is_known:
            yield f"{CHECKSUMS}: was changed, it does not speak of {name}"
        elif name not in sums:
            yield f"{name}: no file of the release"
        elif sums[name] != actual[name] and stated.get(name) == actual[name]:
            yield f"{CHECKSUMS}: its line of {name} was changed, which is as {PROVENANCE} says"
        elif sums[name] != actual[name]:
            yield f"{name}: was changed, it is not what {CHECKSUMS} says"


def _stated(folder: Path) -> dict[str, str]:
    """name -> SHA-256, as the provenance states it; nothing where it cannot be read."""
    try:
        return {one["name"]: one["digest"]["sha256"] for one in files.document(folder, PROVENANCE)["subject"]}
    except (RecastError, KeyError, TypeError):
        return {}


def _in_bom(folder: Path) -> dict[str, str]:
    try:
        components = files.document(folder, BOM)["components"]
        return {one["name"]: one["hashes"][0]["content"] for one in components if one["type"] == "file"}
    except (RecastError, KeyError, TypeError, IndexError):
        return {}


def _agree(name: str, stated: Mapping[str, str], actual: Mapping[str, str]) -> None:
    if stated != actual:
        wrong = sorted(one for one in {*stated, *actual} if stated.get(one) != actual.get(one))
        raise RecastError(f"{name}: speaks of other files than there are: {', '.join(wrong[:5])}", _OTHER_COPY)


def _manifest(folder: Path) -> Mapping[str, Any]:
    manifest = files.document(folder, MANIFEST)
    if manifest.get("format") != FORMAT:
        raise RecastError(f"{MANIFEST}: says the format {manifest.get('format')!r}, not {FORMAT}", "use that Recast")
    if not (is_name(manifest.get("recipe")) and is_name(manifest.get("target"))):
        raise RecastError(f"{MANIFEST}: names no recipe and target", _OTHER_COPY)
    if wrong := _wrong(manifest):
        raise RecastError(f"{MANIFEST}: {wrong} is not as `recast release` writes it", _OTHER_COPY)
    return manifest


def _wrong(manifest: Mapping[str, Any]) -> str:
    """The first key of those that others read which is not of the right form, so that no path is made of it either."""
    stages, order, state = (manifest.get(key) for key in ("stages", "order", "git"))
    if not isinstance(order, list) or not all(isinstance(id, str) and all(map(is_name, id.split("/"))) for id in order):
        return "order"
    if not isinstance(stages, dict) or sorted(stages) != sorted(order):
        return "stages"
    for stage in stages.values():
        if not (isinstance(stage, dict) and isinstance(stage.get("params"), dict)):
            return "stages"
        if not (isinstance(stage.get("files"), dict) and all(isinstance(one, str) for one in stage["files"].values())):
            return "stages"
    changes = state.get("changes") if isinstance(state, dict) else None
    if not isinstance(changes, list) or not all(isinstance(one, str) for one in changes):
        return "git"
    if not (isinstance(state, dict) and isinstance(state.get("commit"), str) and isinstance(state.get("dirty"), bool)):
        return "git"
    for key in ("version", "licence", "emitted_by", "verified_by"):
        if not isinstance(manifest.get(key), str | None):
            return key
    return ""
