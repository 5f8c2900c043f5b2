"""Make the keys and the Solidity verifier, and emit what provers and verifiers need.

Deterministic, given the same SRS: the settings are canonical. The proving key and the compiled circuit are not among
the outputs (`recast.stages.targets.ezkl.keys.keys`), but for `share_pk`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from recast.stages.base import (
    Inputs,
    Metrics,
    Params,
    RepositoryPath,
    Resources,
    Stage,
    StageError,
    progress,
    record_timing,
)
from recast.stages.common import shipped_size
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.ezkl import readme
from recast.stages.targets.ezkl.circuit import cost, settings
from recast.stages.targets.ezkl.circuit.network import write_samples
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.keys.local_store import hold, local_store
from recast.stages.targets.ezkl.onchain import solidity
from recast.stages.targets.ezkl.process.calls import Ezkl
from recast.stages.targets.ezkl.proof import samples, statement

ARTIFACT = keys.VERIFICATION_KEY
SHIPS = (ARTIFACT, settings.FILE, settings.NETWORK)
"""what proofs are made and checked with; the proving key is made of it, and the SRS is nobody's own"""


class EmitParams(Params):
    """Which SRS, and what to write beside the verification key."""

    srs: RepositoryPath | None = Field(
        default=None, description="file with the SRS, as large as the circuit or larger; unset: EZKL's public one"
    )
    srs_sha256: str | None = Field(
        default=None, pattern="^[0-9a-fA-F]{64}$", description="SHA-256 the SRS file must have, 64 hex digits"
    )
    insecure_srs: bool = Field(
        default=False, description="for tests: an SRS whose secret is public, so that proofs can be forged"
    )
    evm: bool = Field(default=True, description="write the Solidity verifier; needs Node.js, and npm once")
    require_deployable: bool = Field(
        default=False, description="fail if the verifier's code is larger than a chain takes (EIP-170)"
    )
    share_pk: bool = Field(default=False, description="put the proving key into the output, so that DVC shares it")
    resources: Resources = Field(default=Resources(cpu=2), description="what the stage asks of the machine")
    timeout: float | None = Field(default=None, gt=0, description="seconds setup may take; unset: generous")

    @model_validator(mode="after")
    def _consistent(self) -> EmitParams:
        if (self.srs is None) != (self.srs_sha256 is None):
            raise ValueError("srs and srs_sha256 go together: an SRS of unknown hash proves nothing")
        if self.srs is not None and self.insecure_srs:
            raise ValueError("srs and insecure_srs contradict each other: drop one")
        if self.require_deployable and not self.evm:
            raise ValueError("require_deployable is about the Solidity verifier: set evm to true")
        return self


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/ and the data's contract -> network.onnx, settings.json, vk.key, srs.json, input.json, values.json,
    README.md; with `evm`, verifier.sol, verifier.abi and verifier.bin; and commitments.json where proofs hold
    commitments, or a hash of the weights.

    Raises StageError if the circuit does not fit this machine, the SRS cannot be had, or Node.js is missing.
    """
    from recast.stages.common.dataset import read_contract

    store = local_store(out)
    ezkl = Ezkl(inputs.scratch, params.resources.cpu)
    if params.evm:
        solidity.install(store)  # before minutes are spent on keys
    for name in (settings.NETWORK, settings.FILE):
        shutil.copyfile(inputs["calibrate"] / name, out / name)
    circuit = settings.read(out / settings.FILE)
    cost.require_memory(circuit)
    record = _srs(params, inputs, store, circuit.logrows, ezkl)
    record.write(out)
    made_keys = _make_keys(params, out, store, record, ezkl)
    if circuit.commits:
        _committed(circuit, inputs, out, made_keys, ezkl).write(out)
    network = onnx_files.read_model(out / settings.NETWORK, "the network")
    contract = onnx_files.described(read_contract(inputs["data"]), network, "the network")
    contract.write(out)
    samples.write_values(out, contract, inputs["data"])
    made: dict[str, Any] = {"insecure": record.insecure, "logrows": circuit.logrows}
    if params.evm:
        srs_file = srs.locate(record, store, ezkl)
        warning = srs.WARNING if record.insecure else ""
        code = solidity.write_verifier(out, srs_file, store, ezkl, warning)
        made |= {"evm_code_bytes": len(code), "evm_deployable": len(code) <= cost.EIP_170_BYTES}
        if params.require_deployable and not made["evm_deployable"]:
            raise StageError(
                f"the Solidity verifier has {len(code)} bytes of code, and EIP-170 allows {cost.EIP_170_BYTES}",
                "set calibrate.optimize to onchain, or calibrate.max_logrows higher",
            )
    (out / "README.md").write_text(readme.text(contract, circuit, record, made), encoding="utf-8")
    return {**made, "size_bytes": shipped_size.size(out, SHIPS)}


def _srs(params: EmitParams, inputs: Inputs, store: Path, logrows: int, ezkl: Ezkl) -> srs.Srs:
    if params.srs is not None and params.srs_sha256 is not None:
        return srs.from_file(inputs.files["srs"], params.srs, params.srs_sha256, logrows)
    if params.insecure_srs:
        progress(srs.WARNING)
        return srs.insecure(store, logrows)
    return srs.public(store, logrows, ezkl)


def _make_keys(params: EmitParams, out: Path, store: Path, record: srs.Srs, ezkl: Ezkl) -> keys.Keys:
    """vk.key in the output and the rest in the store, where it may lie already."""
    place = store / "ezkl" / keys.identity(out, record.sha256)
    hold(place)
    made = keys.Keys(place / keys.COMPILED, place / keys.PROVING_KEY, srs.locate(record, store, ezkl))
    verification = place / keys.VERIFICATION_KEY
    if not made.compiled.exists():
        keys.compile_circuit(out, made.compiled, ezkl)
    if not (made.proving.exists() and verification.exists()):
        record_timing("setup", keys.setup(out, made, verification, ezkl, params.timeout))
    shutil.copyfile(verification, out / ARTIFACT)
    if params.share_pk:
        shutil.copyfile(made.proving, out / keys.PROVING_KEY)
    return made


def _committed(
    circuit: settings.Settings, inputs: Inputs, out: Path, made: keys.Keys, ezkl: Ezkl
) -> statement.Committed:
    """As EZKL computes it for the first calibration sample; it is the same for any."""
    from recast.stages.common.dataset import read

    x, _ = read(inputs["data"], "calibration")
    witness = inputs.scratch / "witness.json"
    ezkl(
        "gen_witness",
        data=str(write_samples(x[:1], inputs.scratch / "sample.json")),
        model=str(made.compiled),
        output=str(witness),
        vk_path=str(out / ARTIFACT),
        srs_path=str(made.srs),
    )
    stated = statement.of_witness(witness, circuit)
    points = {part: len(commitments) for part, commitments in stated.commitments.items()}
    return statement.Committed(points, stated.marks("param"))


STAGE = Stage(params=EmitParams, inputs=("calibrate", "data"), run=run, emits=ARTIFACT, ships=SHIPS)
