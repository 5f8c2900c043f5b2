"""Check the circuit, prove and verify, see every forgery rejected, and compare the circuit with the float model.

The scores come from the circuit's own integers (its witnesses), which are what a proof is about. Proofs are random, so
none is an output; nor is any input or witness, which lie in a folder that is deleted. Times go to the timings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Resources, Stage, StageError, progress, record_timing
from recast.stages.common import shipped_size
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast.stages.targets.ezkl.circuit import cost, settings
from recast.stages.targets.ezkl.circuit.network import forward, output_shape
from recast.stages.targets.ezkl.emit import ARTIFACT, SHIPS
from recast.stages.targets.ezkl.keys import insecure_srs, keys, srs
from recast.stages.targets.ezkl.keys.local_store import local_store
from recast.stages.targets.ezkl.onchain import evm, solidity
from recast.stages.targets.ezkl.process.calls import Ezkl
from recast.stages.targets.ezkl.proof import proof_file, prover, statement
from recast.stages.targets.ezkl.proof.proof_file import Proof

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


IN_FIRST_COMMITMENTS = 100
"""a place in a verification key where the commitments to the circuit's columns are; what follows them, the selectors,
is not read when a proof is verified"""

SAMPLES = 100
"""that verify runs where the recipe says nothing and there are as many"""


class EzklVerifyParams(VerifyParams):
    """As for every target, on fewer samples: each takes up to half a second."""

    samples: int | None = Field(
        default=None, gt=0, description="test samples, from the first; unset: 100, or all where there are fewer"
    )
    batch_size: int = Field(default=20, gt=0, description="samples given to the circuit at once")
    max_abs_error: float | None = Field(default=0.15, ge=0, description="largest error allowed in any output score")
    parity_samples: int = Field(default=8, gt=0, description="samples each form is compared with the one before on")
    resources: Resources = Field(default=Resources(cpu=2), description="what the stage asks of the machine")
    timeout: float | None = Field(default=None, gt=0, description="seconds a proof may take; unset: generous")


def run(params: EzklVerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, simplify/model.onnx and the test split -> metrics, tables of the task, parity.json; see `parity.verify`.

    Raises StageError if the circuit does not hold for the first test sample, if its proof is rejected, if a forged one
    is accepted, by EZKL or by the contract, and if a limit is missed.
    """
    from recast.stages.common.dataset import read_stored

    emitted, store = inputs["emit"], local_store(out)
    threads = params.resources.cpu
    stored, _ = read_stored(inputs["data"], "test")
    # mock, then witness, prove, verify: the short checks before the long ones
    made = prover.Prover(emitted, store, threads, params.timeout).prove(stored[0], inputs.scratch)
    record_timing("prove", made.seconds)
    progress("try forgeries")
    ezkl = Ezkl(inputs.scratch, threads)
    rejected = _reject_forgeries(made.proof, emitted, store, ezkl)
    on_chain = _on_chain(made.proof, emitted)
    predict = predictor(emitted, store, ezkl)
    _check_scores(made, predict(stored[:1]).ravel().tolist())
    count = min(SAMPLES, len(stored)) if params.samples is None else params.samples
    runs = "the circuit's integers as EZKL computes them for a proof (the witness), without proving"
    counted = params.model_copy(update={"samples": count})
    metrics = verify(counted, inputs, out, predict, ARTIFACT, runs=runs)
    return {
        **metrics,
        "size_bytes": shipped_size.size(emitted, SHIPS),
        "proof_bytes": len(made.proof.proof) // 2,
        "insecure": made.proof.insecure,
        "forgeries_rejected": rejected,
        **on_chain,
    }


def predictor(emitted: Path, store: Path, ezkl: Ezkl) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Samples as stored (n, *shape) -> outputs (n, ...), by the circuit; nothing is proved."""
    from recast.stages.common.dataset import read_contract

    contract, circuit = read_contract(emitted), settings.read(emitted / settings.FILE)
    compiled = keys.ensure(emitted, store, ezkl).compiled
    shape = output_shape(emitted)

    def predict(stored: NDArray[Any]) -> NDArray[np.float32]:
        made = forward(ezkl, compiled, circuit, contract.normalise(stored), expected=0.5 * len(stored))
        return made.reshape(len(stored), *shape)

    return predict


def _reject_forgeries(made: Proof, emitted: Path, store: Path, ezkl: Ezkl) -> int:
    """How many forgeries were tried; StageError if one is accepted."""
    circuit, record = settings.read(emitted / settings.FILE), srs.read(emitted)
    key, file = emitted / keys.VERIFICATION_KEY, srs.locate(record, store, ezkl)
    place = ezkl.place / "forged"
    place.mkdir()
    (place / settings.FILE).write_bytes((emitted / settings.FILE).read_bytes())
    forged_key = place / keys.VERIFICATION_KEY
    forged_key.write_bytes(flipped(key.read_bytes(), IN_FIRST_COMMITMENTS))
    forgeries = [(name, forgery, key) for name, forgery in forged(made, bool(circuit.committed))]
    forgeries.append(("a changed verification key", made, forged_key))
    for name, forgery, with_key in forgeries:
        try:
            proof_file.verify(forgery, circuit, with_key, file, ezkl)
        except StageError as error:
            if type(error) is not StageError:
                raise  # it was not rejected: it hung, or was killed
            continue
        raise StageError(f"a proof with {name} was accepted", "do not use this circuit; report it with the log")
    return len(forgeries)


def forged(made: Proof, commits: bool = False) -> list[tuple[str, Proof]]:
    """What must not be accepted, and how it differs from the proof; `commits`: it begins with a commitment."""
    content = made.content
    forgeries = {
        "a changed byte": flipped(content, len(content) // 2),
        "its end cut off": content[: -proof_file.ELEMENT_BYTES],
        "bytes after its end": content + bytes(proof_file.ELEMENT_BYTES),
    }
    if commits:
        forgeries["another commitment"] = _negated(content)
    proofs = [(name, replace(made, proof=changed.hex())) for name, changed in forgeries.items()]
    if made.instances:
        output = ((made.public[-1] + 1) % settings.ORDER).to_bytes(settings.FELT_BYTES, "little").hex()
        proofs.append(("another output", replace(made, instances=(*made.instances[:-1], output))))
    return proofs


def flipped(content: bytes, place: int) -> bytes:
    """The bytes with the lowest bit of one of them changed."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _negated(content: bytes) -> bytes:
    """The proof with its first point, a commitment, replaced by the inverse: a point of the curve as well."""
    x, y = content[: proof_file.ELEMENT_BYTES], content[proof_file.ELEMENT_BYTES : statement.POINT_BYTES]
    other = (insecure_srs.FIELD - int.from_bytes(y, "big")).to_bytes(proof_file.ELEMENT_BYTES, "big")
    return x + other + content[statement.POINT_BYTES :]


def _check_scores(made: prover.Proved, computed: list[float]) -> None:
    if made.scores is not None and made.scores != computed:
        raise StageError(
            f"the proof states the scores {made.scores}, and the circuit computes {computed}", "report it with the log"
        )


def _on_chain(made: Proof, emitted: Path) -> dict[str, Any]:
    """The contract run for the proof and for forgeries: gas and code size; nothing if `emit` wrote no contract."""
    if not (emitted / solidity.CODE).exists():
        progress("no Solidity verifier was emitted (emit.evm is false), so none is run")
        return {}
    progress("run the Solidity verifier")
    code = evm.read_code(emitted / solidity.CODE)
    machine = evm.Machine(code)
    content, public = made.content, made.public
    good = machine.call(evm.calldata(content, public))
    if not good.accepted:
        raise StageError("the Solidity verifier rejects a proof that holds", "run emit again")
    bad = {
        "a changed byte": evm.calldata(flipped(content, len(content) // 2), public),
        "its end cut off": evm.calldata(content[: -proof_file.ELEMENT_BYTES], public),
    }
    if public:
        bad["another output"] = evm.calldata(content, [*public[:-1], (public[-1] + 1) % settings.ORDER])
        bad["an output missing"] = evm.calldata(content, public[:-1])
    if public[-2:-1] not in ([], public[-1:]):  # were they the same, so would be the proof
        bad["two outputs exchanged"] = evm.calldata(content, [*public[:-2], public[-1], public[-2]])
    if settings.read(emitted / settings.FILE).committed:
        bad["another commitment"] = evm.calldata(_negated(content), public)
    for name, forgery in bad.items():
        if machine.call(forgery).accepted:
            raise StageError(f"the Solidity verifier accepts a proof with {name}", "do not deploy it")
    return {
        "evm_gas_at_most": evm.most_gas(content, public, good.execution_gas),
        "evm_code_bytes": len(code),
        "evm_deployable": len(code) <= cost.EIP_170_BYTES,
        "evm_forgeries_rejected": len(bad),
    }


STAGE = Stage(
    params=EzklVerifyParams,
    inputs=("emit", "simplify", "export", "data"),
    run=run,
    plots=plots,
    reports=REPORT,
)
