"""Make proofs: what `recast prove`, `recast serve` and `verify` do it with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from recast.stages.base import StageError, progress
from recast.stages.targets.ezkl.circuit import cost, settings
from recast.stages.targets.ezkl.circuit.network import write_samples
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.keys.local_store import sha256
from recast.stages.targets.ezkl.process.calls import Call, Ezkl, EzklError, TimeLimits
from recast.stages.targets.ezkl.proof import proof_file, statement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOCK_SECONDS = 12.0
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Proved:
    """A proof that was verified, the scores it states (None if the circuit keeps them private), and what it took."""

    proof: proof_file.Proof
    scores: list[float] | None
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Prover:
    """Makes proofs by the circuit in the folder `emit` wrote, with the keys in a store."""

    emitted: Path
    local: Path
    """the store"""
    threads: int = 2
    timeout: float | None = None
    """seconds a single call of EZKL may take"""
    memory_gib: float | None = None
    """memory it may take"""

    def prove(self, stored: NDArray[Any], scratch: Path | None = None, log: IO[str] | None = None) -> Proved:
        """One sample as stored (*shape) -> a proof.

        The input and the witness lie in a folder of `scratch` that is deleted before this returns. What EZKL prints
        goes to `log`, or to standard error. Raises StageError for an input the circuit does not take, before anything
        is proved, for one that is out of its range, and if a call is refused, hangs or is killed.
        """
        # EZKL's processes have a working directory of their own
        emitted, local = self.emitted.resolve(), self.local.resolve()
        circuit, record = settings.read(emitted / settings.FILE), srs.read(emitted)
        x = _normalised(emitted, circuit, stored)
        predicted = cost.require_memory(circuit)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="prove-") as folder:
            place = Path(folder)
            ezkl = Ezkl(place, self.threads, self.memory_gib, log)
            made = keys.ensure(emitted, local, ezkl, self.timeout)
            data = write_samples(x[None], place / "input.json")
            witness, file = place / "witness.json", place / "proof.json"
            key = emitted / keys.VERIFICATION_KEY
            committing = {"vk_path": str(key), "srs_path": str(made.srs)} if circuit.committed else {}
            find_witness(ezkl, data, made.compiled, witness, committing)
            progress(f"prove: {predicted}")
            arguments = {
                "witness": str(witness),
                "model": str(made.compiled),
                "pk_path": str(made.proving),
                "proof_path": str(file),
                "srs_path": str(made.srs),
            }
            limits = TimeLimits(predicted.prove, self.timeout)
            answer = ezkl.run([Call("prove", arguments)], "EZKL's prove", limits, shown="prove")
            found = proof_file.from_ezkl(file, sha256(key), record.insecure)
            proof_file.verify(found, circuit, key, made.srs, ezkl)
            stated = statement.of_proof(found, circuit, statement.read_committed(emitted, circuit))
            if stated != statement.of_witness(witness, circuit):
                raise StageError("the proof does not state what EZKL computed", "report it with the log")
            return Proved(found, stated.scores(circuit), answer.seconds, answer.peak_bytes)


def find_witness(
    ezkl: Ezkl, data: Path, compiled: Path, witness: Path, committing: Mapping[str, str] = NOTHING
) -> None:
    """Write the witness, and have the circuit checked without a proof: `prove` would hang where this raises.

    `committing`: EZKL's `vk_path` and `srs_path`, without which it computes no commitments.
    """
    what = "the witness (EZKL's gen_witness)"
    arguments = {"data": str(data), "model": str(compiled), "output": str(witness), **committing}
    call = Call("gen_witness", arguments)
    mock = Call("mock", {"witness": str(witness), "model": str(compiled)})
    try:
        ezkl.run([call], what, shown="compute the witness")
        answer = ezkl.run([mock], "EZKL's mock", TimeLimits(MOCK_SECONDS), shown="check the circuit")
    except EzklError as error:
        if error.kind not in ("refused", "panic"):
            raise
        why = "a value is out of the range of a lookup" if "Lookup" in error.said else error.said[:300]
        raise EzklError(
            f"the circuit cannot compute this input: {why}",
            "give an input like those it was calibrated on, or raise calibrate.lookup_safety_margin or "
            "quantize.decomp_legs",
            "range",
            error.said,
        ) from error
    if answer.values != [True]:
        raise EzklError("EZKL's mock does not accept the witness", "see the log", "range")


def _normalised(emitted: Path, circuit: settings.Settings, stored: NDArray[Any]) -> NDArray[np.float32]:
    import numpy as np

    from recast.stages.common.dataset import read_contract

    contract = read_contract(emitted)
    if stored.shape != contract.shape:
        raise StageError(
            f"the input has shape {stored.shape}, and the network takes {contract.shape}",
            "give one sample of that shape",
        )
    x: NDArray[np.float32] = contract.normalise(stored[None])[0]
    if not np.isfinite(x).all():
        raise StageError("the input holds NaN or infinity", "give finite numbers")
    largest = float(np.abs(x).max())
    if largest >= circuit.largest_input:
        raise StageError(
            f"the input holds {largest:g} (after normalisation), and the circuit takes less than "
            f"{circuit.largest_input:g}",
            "give an input like those it was calibrated on, or raise quantize.decomp_legs",
        )
    return x
