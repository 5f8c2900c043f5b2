"""What a proof makes public of the input, the weights and the scores: numbers, hashes (Poseidon) and commitments (KZG).

EZKL's instances are, in this order and as far as there are any: the hash of the input, that of the weights, the numbers
of the input, the scores, the hash of the scores. Commitments are the first points of the proof itself. Neither hash nor
commitment is blinded: the same numbers have the same one, so whoever can guess the numbers can see that he is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count, islice
from math import prod
from pathlib import Path
from typing import Any

from recast.stages.base import StageError
from recast.stages.targets.ezkl.circuit.settings import FELT_BYTES, PARTS, Settings
from recast.stages.targets.ezkl.keys.insecure_srs import FIELD
from recast.stages.targets.ezkl.proof.proof_file import Proof

RECORD = "commitments.json"
POINT_BYTES = 2 * FELT_BYTES
"""of a point in a proof: its two coordinates, each with the most significant byte first"""
IN_WITNESS = {"input": "processed_inputs", "param": "processed_params", "output": "processed_outputs"}


@dataclass(frozen=True)
class Statement:
    """Part (input, param, output) -> what is public of it."""

    numbers: Mapping[str, tuple[str, ...]]
    """elements of the field, 64 hexadecimal digits each"""
    hashes: Mapping[str, str]
    """64 hexadecimal digits, as EZKL writes an element of the field"""
    commitments: Mapping[str, tuple[str, ...]]
    """points of G1, 128 hexadecimal digits each, as in the proof: one for each column the part fills"""

    def scores(self, circuit: Settings) -> list[float] | None:
        """The scores, None if they are not public."""
        return circuit.scores(self.numbers["output"]) if "output" in self.numbers else None

    def marks(self, part: str) -> tuple[str, ...]:
        """What stands for the part: its hash, or its commitments; nothing if it has neither."""
        return (self.hashes[part],) if part in self.hashes else self.commitments.get(part, ())


@dataclass(frozen=True)
class Committed:
    """What `emit` knows of every proof of the circuit; written as commitments.json where there is anything to know."""

    points: Mapping[str, int]
    """part -> how many points of a proof are its commitments"""
    weights: tuple[str, ...]
    """the hash or the commitments of the network's weights, where a proof shows either"""

    def write(self, folder: Path) -> None:
        """Write commitments.json."""
        text = json.dumps({"points": dict(self.points), "weights": list(self.weights)}, indent=2)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")

    def require_weights(self, stated: Statement) -> None:
        """StageError unless what a proof states of its weights is what the network's own have."""
        if stated.marks("param") != self.weights:
            raise StageError(
                f"the proof is for other weights: it shows {', '.join(stated.marks('param'))}, and this circuit's "
                f"network has {', '.join(self.weights)}",
                "ask for a proof by this network",
            )


def read_committed(emitted: Path, circuit: Settings) -> Committed:
    """What commitments.json says, nothing if the circuit has neither; StageError if it is missing or damaged."""
    if not circuit.commits:
        return Committed({}, ())
    try:
        raw = json.loads((emitted / RECORD).read_text(encoding="utf-8"))
        found = Committed({part: int(points) for part, points in raw["points"].items()}, tuple(raw["weights"]))
        if tuple(found.points) != circuit.committed or min(found.points.values(), default=1) < 1:
            raise ValueError("it is not this circuit's")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StageError(f"cannot read {emitted.name}/{RECORD}: {error!r}", "run emit again") from error
    return found


def of_proof(proof: Proof, circuit: Settings, committed: Committed) -> Statement:
    """What a proof states that `recast.stages.targets.ezkl.proof.proof_file.verify` has let pass."""
    felts = iter(proof.instances)
    hashes = {part: next(felts) for part in ("input", "param") if circuit.visibility(part) == "hashed"}
    shown = [part for part in ("input", "output") if circuit.visibility(part) == "public"]
    shapes = circuit.raw["model_instance_shapes"]
    numbers = {part: tuple(islice(felts, prod(shape))) for part, shape in zip(shown, shapes, strict=True)}
    if circuit.visibility("output") == "hashed":
        hashes["output"] = next(felts)
    points = (proof.proof[at : at + 2 * POINT_BYTES] for at in count(0, 2 * POINT_BYTES))
    return Statement(numbers, hashes, {part: tuple(islice(points, n)) for part, n in committed.points.items()})


def of_witness(witness: Path, circuit: Settings) -> Statement:
    """What EZKL computed while it made the witness, with the verification key and the SRS if anything is committed."""
    raw: dict[str, Any] = json.loads(witness.read_text(encoding="utf-8"))
    values = {"input": raw["inputs"], "output": raw["outputs"]}
    processed = {part: raw[IN_WITNESS[part]] for part in PARTS}
    return Statement(
        {part: tuple(values[part][0]) for part in values if circuit.visibility(part) == "public"},
        {part: processed[part]["poseidon_hash"][0] for part in PARTS if circuit.visibility(part) == "hashed"},
        {
            part: tuple(_point(felt) for columns in processed[part]["polycommit"] for felt in columns)
            for part in circuit.committed
        },
    )


def _point(compressed: str) -> str:
    """x with the least significant byte first, and in its highest bit whether y is odd -> x and y as in a proof.

    The curve is y^2 = x^3 + 3 (EIP-197); FIELD is 3 modulo 4, which gives the root.
    """
    content = bytes.fromhex(compressed)
    value = int.from_bytes(content, "little")
    odd, x = value >> 255, value & (2**254 - 1)
    y = pow(x**3 + 3, (FIELD + 1) // 4, FIELD)
    y = y if y % 2 == odd else FIELD - y
    return (x.to_bytes(FELT_BYTES, "big") + y.to_bytes(FELT_BYTES, "big")).hex()
