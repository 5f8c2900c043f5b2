"""`recast check-proof RECIPE/ezkl PROOF`: whether a proof holds, and what it states.

Scores and hashes are read from the proof's instances, commitments from the proof itself, which are what is proved;
nothing else in the file is believed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from recast.stages.base import StageError
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.circuit.settings import Settings, signed
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.keys.local_store import log_of, sha256
from recast.stages.targets.ezkl.process.calls import Ezkl
from recast.stages.targets.ezkl.proof import proof_file, statement
from recast.stages.targets.ezkl.proof.statement import Statement
from recast.stages.verb import Artifacts, Verb


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes after RECIPE/TARGET."""
    parser.add_argument("proof", metavar="PROOF", help="file that `recast prove` wrote")


def run(options: Mapping[str, Any], artifacts: Artifacts | None) -> None:
    """Verify the proof against the recipe's circuit and print what it states; StageError if it does not hold."""
    from recast.stages.common.dataset import read_contract
    from recast.stages.tasks import task

    assert artifacts is not None, "the verb reads emit"
    emitted = artifacts.directories["emit"]
    keys.require_circuit(emitted, artifacts.address)
    with log_of("check-proof", artifacts.local) as log:
        stated, insecure = checked(Path(options["proof"]), emitted, artifacts.local, log)
    if insecure:
        print(srs.WARNING)
    circuit = settings.read(emitted / settings.FILE)
    scores = stated.scores(circuit)
    if scores is None:
        print("the proof holds; the circuit does not make its scores public")
    else:
        contract = read_contract(emitted)
        classes, one_of_them = contract.classes, task.of(contract.task).names_one_class
        named = classes if len(classes) == len(scores) else tuple(f"output {index}" for index in range(len(scores)))
        best = max(range(len(scores)), key=scores.__getitem__)
        said = named is classes and one_of_them
        print(f"the proof holds: class {classes[best]}" if said else "the proof holds")
        for name, score in zip(named, scores, strict=True):
            print(f"  {name}: {score:.6g}")
    for line in _rest(stated, circuit):
        print(line)


def checked(path: Path, emitted: Path, local: Path, log: IO[str] | None = None) -> tuple[Statement, bool]:
    """What the proof in the file proves, and whether it is insecure; StageError if it does not hold for the weights
    of the circuit's network. What EZKL prints goes to `log`, or to standard error.
    """
    # EZKL's processes have a working directory of their own
    emitted, local = emitted.resolve(), local.resolve()
    found = proof_file.read(path)
    circuit, record = settings.read(emitted / settings.FILE), srs.read(emitted)
    key = emitted / keys.VERIFICATION_KEY
    if found.circuit != sha256(key):
        raise StageError(
            f"{path.name} is a proof for another circuit: it names the verification key {found.circuit[:12]}…, "
            f"and this is {sha256(key)[:12]}…",
            "name the recipe and target it was made with, as it was then",
        )
    if found.insecure is not record.insecure:
        raise StageError(f"{path.name} says insecure: {found.insecure}, and its circuit is not so", proof_file.REMEDY)
    with tempfile.TemporaryDirectory(prefix="recast-check-") as folder:
        ezkl = Ezkl(Path(folder), threads=1, log=log)
        proof_file.verify(found, circuit, key, srs.locate(record, local, ezkl), ezkl)
    committed = statement.read_committed(emitted, circuit)
    stated = statement.of_proof(found, circuit, committed)
    committed.require_weights(stated)
    return stated, record.insecure


def _rest(stated: Statement, circuit: Settings) -> Iterator[str]:
    """What is public beside the scores, a line for each part."""
    for part, name in (("input", "input"), ("param", "weights"), ("output", "scores")):
        marks = " ".join(stated.marks(part))
        whose = " (those of this circuit's network)" if part == "param" else ""
        if part in stated.hashes:
            yield f"{name}: hash {marks}{whose}"
        elif marks:
            yield f"{name}: commitment {marks}{whose}"
    if "input" in stated.numbers:
        scale = 2 ** int(circuit.raw["run_args"]["input_scale"])
        x = [signed(felt) / scale for felt in stated.numbers["input"]]
        yield f"input: public, {len(x)} numbers from {min(x):.6g} to {max(x):.6g}, as the network takes them"
    if circuit.visibility("param") == "private":
        yield "weights: private, so the proof holds for any network of this circuit's shape"


VERB = Verb(
    arguments,
    run,
    reads=("emit",),
    example="recast check-proof mnist_mlp_ezkl/ezkl proof.json",
    more="It needs nothing of the prover but the file of the proof.",
)
