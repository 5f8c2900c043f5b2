"""A release as short as one may be, laid by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.pipeline.release import files
from recast.pipeline.release.layout import BOM, CARD, CHECKSUMS, FORMAT, LICENCES, MANIFEST, PROVENANCE, as_json

STAGE = {"params": {}, "files": {"model.bin": "0" * 64}}
SOUND: dict[str, Any] = {
    **{"format": FORMAT, "recipe": "a", "target": "b", "version": None, "licence": None},
    **{"order": ["a/b/emit"], "stages": {"a/b/emit": STAGE}, "emitted_by": "b.emit", "verified_by": "a/b/verify"},
    "git": {"commit": "0" * 40, "dirty": False, "changes": []},
}


def lay(place: Path) -> Path:
    """The release, in a folder that is made for it."""
    (place / "model").mkdir(parents=True)
    (place / "model/model.bin").write_bytes(b"weights")
    (place / CARD).write_text("# a card\n")
    (place / LICENCES).write_bytes(as_json({}))
    (place / MANIFEST).write_bytes(as_json(SOUND))
    finish(place)
    return place


def finish(place: Path) -> None:
    """Write what follows from the other files."""
    hashed = files.digests(place, ["model/model.bin"])
    components = [{"type": "file", "name": name, "hashes": [{"content": sum}]} for name, sum in hashed.items()]
    (place / BOM).write_bytes(as_json({"components": components}))
    rest = [name for name in files.found(place) if name not in (PROVENANCE, CHECKSUMS)]
    subject = [{"name": name, "digest": {"sha256": sum}} for name, sum in files.digests(place, rest).items()]
    (place / PROVENANCE).write_bytes(as_json({"subject": subject}))
    (place / CHECKSUMS).write_bytes(files.as_text(files.digests(place, files.summed(files.found(place)))))
