"""What lies where in a release, and how much one may hold."""

from __future__ import annotations

import json
from typing import Any

FORMAT = "recast-release/1"
MANIFEST = "manifest.json"
"""the recipe as resolved, the commit, DVC's hashes, data, weights and pins"""
CARD = "README.md"
"""the model card, where Hugging Face looks for it"""
BOM = "bom.cdx.json"
"""the bill of materials, CycloneDX"""
PROVENANCE = "provenance.intoto.json"
"""the in-toto statement with SLSA's provenance"""
LICENCES = "licences.json"
CHECKSUMS = "SHA256SUMS"
"""of every other file but the signature, as `sha256sum --check` reads it"""
SIGNATURE = "model.sig"
"""OpenSSF model signing, over every other file"""
MODEL = "model"
"""the emitted folder, with the contract input.json"""
METRICS = "metrics"
"""the metrics of every stage, as `STAGE.json`, a target's below its name"""

ALWAYS = (MANIFEST, CARD, BOM, PROVENANCE, LICENCES, CHECKSUMS)
"""files that every release has"""
ARCHIVES = (".tar", ".tar.gz", ".tgz")
"""how the name of an archive ends; what ends otherwise is a folder"""

MOST_FILES = 10_000
MOST_BYTES = 8 * 2**30
"""of all files of a release together, unless its reader allows another number"""
MOST_DOCUMENT_BYTES = 64 * 2**20
"""of a JSON document in it, which is read whole"""


def as_json(content: Any) -> bytes:
    """JSON in one form: keys sorted, ASCII, a line for each value."""
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode("ascii")
