"""The compiled circuit and the proving key: rebuilt from what `emit` wrote wherever they are missing.

The proving key takes up to gigabytes and a minute or more to make, and a compiled circuit has other bytes each time it
is made: neither is hashed by DVC. Both lie in the local store, under a key made of the settings, the network and the
SRS.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from recast.stages.base import StageError, progress
from recast.stages.targets.ezkl.circuit import cost, settings
from recast.stages.targets.ezkl.keys import srs
from recast.stages.targets.ezkl.keys.local_store import hold, written_whole
from recast.stages.targets.ezkl.process.calls import Call, Ezkl, TimeLimits

VERIFICATION_KEY = "vk.key"
PROVING_KEY = "pk.key"
COMPILED = "model.compiled"
EZKL_VERSION = "23.0.5"


@dataclass(frozen=True)
class Keys:
    """What proving reads."""

    compiled: Path
    proving: Path
    srs: Path


def require_circuit(folder: Path, what: str) -> None:
    """StageError unless `folder` is what this target's `emit` writes."""
    if not (folder / VERIFICATION_KEY).is_file() or not (folder / srs.RECORD).is_file():
        raise StageError(f"{what} is no circuit, so there is nothing to prove", "name a target that uses ezkl.emit")


def identity(folder: Path, srs_sha256: str) -> str:
    """Of the circuit in `folder` and its keys: 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{EZKL_VERSION} {srs_sha256} ".encode())
    for name in (settings.FILE, settings.NETWORK):
        content = (folder / name).read_bytes()
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def ensure(folder: Path, store: Path, ezkl: Ezkl, timeout: float | None = None) -> Keys:
    """The keys of the circuit that `emit` wrote into `folder`; made if they are missing.

    Raises StageError if the circuit does not fit this machine, and if the verification key in the folder is not
    the one that belongs to it.
    """
    record = srs.read(folder)
    place = store / "ezkl" / identity(folder, record.sha256)
    hold(place)
    keys = Keys(place / COMPILED, place / PROVING_KEY, srs.locate(record, store, ezkl))
    if (folder / PROVING_KEY).exists():
        keys = Keys(keys.compiled, folder / PROVING_KEY, keys.srs)
    if not keys.compiled.exists():
        compile_circuit(folder, keys.compiled, ezkl)
    if not keys.proving.exists():
        made = place / VERIFICATION_KEY
        setup(folder, keys, made, ezkl, timeout)
        if made.read_bytes() != (folder / VERIFICATION_KEY).read_bytes():
            keys.proving.unlink()
            raise StageError(
                f"{folder.name}/{VERIFICATION_KEY} is not the verification key of this circuit and SRS",
                "run emit again; do not edit what it wrote",
            )
    return keys


def compile_circuit(folder: Path, place: Path, ezkl: Ezkl) -> None:
    """Compile the network with its settings, both in `folder`."""
    with written_whole(place) as half:
        ezkl(
            "compile_circuit",
            model=str(folder / settings.NETWORK),
            compiled_circuit=str(half),
            settings_path=str(folder / settings.FILE),
        )


def setup(folder: Path, keys: Keys, verification: Path, ezkl: Ezkl, timeout: float | None = None) -> float:
    """Write both keys; the seconds it took. StageError if the circuit does not fit this machine."""
    predicted = cost.require_memory(settings.read(folder / settings.FILE))
    progress(f"set up: {predicted}")
    with written_whole(keys.proving) as half, written_whole(verification) as half_verification:
        arguments = {
            "model": str(keys.compiled),
            "vk_path": str(half_verification),
            "pk_path": str(half),
            "srs_path": str(keys.srs),
        }
        limits = TimeLimits(predicted.setup, timeout)
        answer = ezkl.run([Call("setup", arguments)], "EZKL's setup", limits, shown="make the keys")
    return answer.seconds
