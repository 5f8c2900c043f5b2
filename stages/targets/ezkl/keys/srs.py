"""The structured reference string (SRS) that keys and proofs rest on: one for each size, shared by all recipes.

It comes from a file of the repository whose hash the recipe states, or is EZKL's public one, or, if the recipe says
so, one whose secret everybody knows (`insecure_srs`). Nothing but its hash enters an output.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from recast.stages.base import StageError, progress
from recast.stages.targets.ezkl.keys import insecure_srs
from recast.stages.targets.ezkl.keys.local_store import sha256, written_whole
from recast.stages.targets.ezkl.process.calls import Call, Ezkl, EzklError, TimeLimits

RECORD = "srs.json"
POINT_BYTES, TAIL_BYTES = 64, 256
WARNING = "INSECURE: the secret of the SRS is public, so anyone can forge these proofs. For tests only."


@dataclass(frozen=True)
class Srs:
    """Which SRS a circuit's keys are made with; written as srs.json beside them."""

    source: Literal["file", "public", "insecure"]
    logrows: int
    sha256: str
    file: str | None = None
    """in the repository, for source `file`"""

    @property
    def insecure(self) -> bool:
        """Whether anyone can forge what is proved with it."""
        return self.source == "insecure"

    def write(self, folder: Path) -> None:
        """Write srs.json."""
        text = json.dumps({**asdict(self), "insecure": self.insecure}, indent=2)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read(emitted: Path) -> Srs:
    """What srs.json says; StageError if it is missing or damaged."""
    try:
        raw = json.loads((emitted / RECORD).read_text(encoding="utf-8"))
        insecure = raw.pop("insecure")
        srs = Srs(**raw)
        if insecure is not srs.insecure or srs.source not in ("file", "public", "insecure"):
            raise ValueError("it contradicts itself")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StageError(f"cannot read {emitted.name}/{RECORD}: {error}", "run emit again") from error
    return srs


def from_file(path: Path, name: str, expected: str, logrows: int) -> Srs:
    """The SRS in a file of the repository, which is only read; StageError unless it is the one the recipe means."""
    found = sha256(path)
    if found != expected.lower():
        raise StageError(
            f"the SRS {name} has SHA-256 {found}; the recipe expects {expected.lower()}",
            "fetch the right file, or correct emit.srs_sha256",
        )
    size = path.stat().st_size
    with path.open("rb") as file:
        k = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    if k > insecure_srs.TWO_ADICITY or size != 4 + 2 * POINT_BYTES * 2**k + TAIL_BYTES:
        raise StageError(f"the SRS {name} is damaged, or no KZG parameters in raw bytes", "fetch it again")
    if tail == insecure_srs.tail():
        raise StageError(
            f"the SRS {name} is one whose secret is public, so anyone can forge what is proved with it",
            "give another; for tests, set emit.insecure_srs in its place",
        )
    if k < logrows:
        raise StageError(
            f"the SRS {name} is for k up to {k}, and the circuit has k {logrows}",
            f"give one for {logrows} or more (a larger one serves a smaller circuit), or set calibrate.max_logrows",
        )
    return Srs("file", k, found, name)


def insecure(store: Path, logrows: int) -> Srs:
    """The SRS whose secret is public, made once for each size."""
    path = _place(store, "insecure", logrows)
    if not path.exists():
        with written_whole(path) as half:
            insecure_srs.write(half, logrows, lambda done, total: progress("make an insecure SRS", done, total))
    return Srs("insecure", logrows, sha256(path))


def public(store: Path, logrows: int, ezkl: Ezkl) -> Srs:
    """EZKL's public SRS, downloaded once for each size; StageError if it cannot be.

    EZKL's `get_srs` deletes what lies at the path it is given if it does not know the hash, so it gets one where
    nothing lies. It checks the hash of what it downloads.
    """
    path = _place(store, "public", logrows)
    if not path.exists():
        with written_whole(path) as half:
            call = Call("get_srs", {"settings_path": None, "logrows": logrows, "srs_path": str(half)})
            try:
                ezkl.run([call], "EZKL's get_srs", TimeLimits(60, idle=None), shown=f"download the SRS for k {logrows}")
            except EzklError as error:
                other = "tampered" in error.said
                cause = (
                    "use another network: this one gives another file than the ceremony's"
                    if other
                    else "connect to the network"
                )
                raise StageError(
                    f"cannot download the public SRS for k {logrows}: {error.said or error.message}",
                    f"{cause}, or give emit.srs and emit.srs_sha256; for tests only: emit.insecure_srs",
                ) from error
            if not half.exists():
                raise StageError("EZKL's get_srs wrote no file", "give emit.srs and emit.srs_sha256")
    return Srs("public", logrows, sha256(path))


def locate(srs: Srs, store: Path, ezkl: Ezkl) -> Path:
    """The file, made or downloaded again if it is missing; StageError if it is not the one the keys were made with."""
    if srs.source == "file":
        path = store.parent.parent / str(srs.file)
        if not path.is_file():
            raise StageError(f"the SRS {srs.file} is not there", "fetch it: 'dvc pull', or where you had it from")
    else:
        path = _place(store, srs.source, srs.logrows)
        if not path.exists():
            _ = insecure(store, srs.logrows) if srs.source == "insecure" else public(store, srs.logrows, ezkl)
    found = sha256(path)
    if found != srs.sha256:
        raise StageError(
            f"the SRS {path.name} has SHA-256 {found}, and the keys were made with {srs.sha256}",
            f"delete {path} so that it is made again" if srs.source != "file" else "fetch the right file",
        )
    return path


def _place(store: Path, source: str, logrows: int) -> Path:
    return store / "srs" / f"{source}-{logrows}.srs"
