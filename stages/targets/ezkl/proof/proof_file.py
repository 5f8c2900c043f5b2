"""A proof as a file of ours, read strictly: EZKL's verifier ignores parts of its own file, and bytes after the proof.

Keys: `format`, `circuit` (SHA-256 of the verification key), `insecure` (made with an SRS whose secret is public),
`instances` (what is public, 64 hexadecimal digits each) and `proof` (hexadecimal digits). The file of a proof is never
the same twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recast.stages.base import StageError
from recast.stages.targets.ezkl.circuit.settings import Settings, signed
from recast.stages.targets.ezkl.process.calls import Ezkl, EzklError

FORMAT = "recast ezkl proof 1"
ELEMENT_BYTES = 32
"""a proof is a sequence of coordinates and scalars of this size"""
MOST_BYTES = 64 * 2**20
REMEDY = "ask for the proof again; do not edit it"


@dataclass(frozen=True)
class Proof:
    """What a prover hands over."""

    circuit: str
    insecure: bool
    instances: tuple[str, ...]
    proof: str

    @property
    def content(self) -> bytes:
        """The proof's own bytes."""
        return bytes.fromhex(self.proof)

    @property
    def public(self) -> list[int]:
        """The instances as numbers modulo the order."""
        return [int.from_bytes(bytes.fromhex(felt), "little") for felt in self.instances]

    def write(self, path: Path) -> None:
        """Write the file."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    def for_ezkl(self, path: Path) -> Path:
        """Write EZKL's own file, with what it reads and nothing it ignores."""
        whole = {
            "protocol": None,
            "instances": [list(self.instances)],
            "proof": list(self.content),
            "hex_proof": f"0x{self.proof}",
            "split": None,
            "pretty_public_inputs": None,
            "timestamp": 0,
            "version": None,
        }
        path.write_text(json.dumps(whole), encoding="utf-8")
        return path


def from_ezkl(path: Path, circuit: str, insecure: bool) -> Proof:
    """What EZKL's prover wrote."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    instances = tuple(felt for group in raw["instances"] for felt in group)
    return Proof(circuit, insecure, instances, bytes(raw["proof"]).hex())


def read(path: Path) -> Proof:
    """The proof in the file; StageError if it is not exactly as `Proof.write` writes it."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("it is too large")
        text = path.read_text(encoding="utf-8")
        # so that no depth of brackets, in a file from anyone, exhausts the stack
        if text.count("[") > 1 or text.count("{") > 1:
            raise ValueError("it is nested deeper than a proof")
        raw = json.loads(text, object_pairs_hook=_unique)
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            raise ValueError(f"it does not say 'format': '{FORMAT}'")
        if unknown := sorted(set(raw) - {"circuit", "insecure", "instances", "proof"}):
            raise ValueError(f"it has an unknown key '{unknown[0]}'")
        proof = Proof(raw["circuit"], raw["insecure"], tuple(raw["instances"]), raw["proof"])
        _check_types(proof)
    except OSError as error:
        raise StageError(
            f"cannot read the proof {path.name}: {error.strerror or error}", "give a file that is there"
        ) from error
    except KeyError as error:
        raise StageError(f"{path.name} is no proof: it has no key {error}", REMEDY) from error
    except (ValueError, TypeError) as error:
        raise StageError(f"{path.name} is no proof: {error}", REMEDY) from error
    return proof


def verify(proof: Proof, settings: Settings, key: Path, srs: Path, ezkl: Ezkl) -> None:
    """StageError unless the proof holds for the circuit, exactly as it stands."""
    if len(proof.instances) != settings.instances:
        raise StageError(
            f"the proof has {len(proof.instances)} instances, and the circuit {settings.instances}", REMEDY
        )
    for felt in proof.instances:
        signed(felt)
    if not _holds(proof, key, srs, ezkl):
        raise StageError("the proof does not hold: it, its instances, the key or the SRS is not the right one", REMEDY)
    # EZKL reads no further than it needs, so a proof that also holds without its end has bytes behind it
    shorter = Proof(proof.circuit, proof.insecure, proof.instances, proof.proof[: -2 * ELEMENT_BYTES])
    if len(proof.proof) % (2 * ELEMENT_BYTES) or _holds(shorter, key, srs, ezkl):
        raise StageError("the proof has bytes after its end", REMEDY)


def _holds(proof: Proof, key: Path, srs: Path, ezkl: Ezkl) -> bool:
    file = proof.for_ezkl(ezkl.place / "proof-to-verify.json")
    try:
        answer = ezkl(
            "verify",
            proof_path=str(file),
            settings_path=str(key.with_name("settings.json")),
            vk_path=str(key),
            srs_path=str(srs),
        )
    # it raises where one would expect False; a hang or a lack of memory says nothing about the proof
    except EzklError as error:
        if error.kind not in ("refused", "panic"):
            raise
        return False
    finally:
        file.unlink(missing_ok=True)
    return answer.values == [True]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("it says a key twice")
    return dict(pairs)


def _check_types(proof: Proof) -> None:
    if not isinstance(proof.insecure, bool) or not isinstance(proof.circuit, str):
        raise ValueError("'insecure' is true or false, and 'circuit' a text")
    if not all(isinstance(felt, str) for felt in proof.instances):
        raise ValueError("'instances' is a list of texts")
    if not isinstance(proof.proof, str) or proof.proof != proof.proof.lower() or not proof.proof.isalnum():
        raise ValueError("'proof' is a text of hexadecimal digits")
    if any(felt != felt.lower() for felt in proof.instances):
        raise ValueError("'instances' are in lower case")
    bytes.fromhex(proof.proof)
