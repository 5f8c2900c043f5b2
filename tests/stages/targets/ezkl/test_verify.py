# environment: ezkl
from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.common.dataset import read_contract
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.ezkl import verify
from recast.stages.targets.ezkl.onchain import evm, solidity
from recast.stages.targets.ezkl.proof import prover
from recast.stages.targets.ezkl.proof.proof_file import Proof
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace, images


def copied(work: Workplace, root: Path) -> Workplace:
    for name in ("data", "simplify", "emit"):
        shutil.copytree(work.root / name, root / name)
    (root / "export").mkdir()
    return Workplace(root)


def test_the_circuit_proves_and_agrees_with_the_float_model(mlp: Workplace, tmp_path: Path) -> None:
    work = copied(mlp, tmp_path)
    metrics = work.run(verify.STAGE, "verify", samples=20)
    assert metrics["agreement"] == metrics["accuracy_emitted"] == 1.0
    assert 0 < metrics["max_abs_error"] < 0.15
    assert metrics["samples"] == 20
    assert metrics["insecure"] is True
    assert metrics["forgeries_rejected"] == 5
    assert "evm_gas_at_most" not in metrics
    conversions = json.loads((tmp_path / "verify" / "parity.json").read_text())
    assert "emitted" in json.dumps(conversions)


@pytest.mark.slow
@pytest.mark.slow
def test_outputs_that_are_maps_keep_their_shape(tmp_path: Path) -> None:
    work = circuits.emitted(tmp_path, circuits.spatial())
    (tmp_path / "export").mkdir()
    assert read_contract(tmp_path / "emit").outputs[0].shape == (2, 4, 4)
    metrics = work.run(verify.STAGE, "verify", samples=10, task={"name": "none"})
    assert metrics["agreement"] == 1.0 and 0 < metrics["max_abs_error"] < 0.15
    assert "outputs (N, 2, 4, 4), flat" in " ".join((tmp_path / "emit/README.md").read_text().split())


def test_the_contract_accepts_the_proof_and_no_forgery(contract: Workplace, tmp_path: Path) -> None:
    work = copied(contract, tmp_path)
    first = work.run(verify.STAGE, "verify", samples=2, parity_samples=1)
    assert first["evm_deployable"] is True
    assert first["evm_forgeries_rejected"] == 5
    assert 300_000 < first["evm_gas_at_most"] < 2_000_000
    # a proof is another each time, and what is said of it the same
    assert work.run(verify.STAGE, "again", samples=2, parity_samples=1) == first


@pytest.mark.slow
def test_a_contract_that_accepts_anything_is_found_out(contract: Workplace, tmp_path: Path) -> None:
    work = copied(contract, tmp_path)
    # mstore(0, 1), return(0, 32)
    (tmp_path / "emit" / solidity.CODE).write_text("600160005260206000f3\n")
    with pytest.raises(StageError, match="the Solidity verifier accepts a proof with a changed byte"):
        work.run(verify.STAGE, "verify", samples=2)
    (tmp_path / "emit" / solidity.CODE).write_text("60006000fd\n")  # revert
    with pytest.raises(StageError, match="the Solidity verifier rejects a proof that holds"):
        work.run(verify.STAGE, "reverts", samples=2)
    (tmp_path / "emit" / solidity.CODE).write_text("no code\n")
    with pytest.raises(StageError, match=r"cannot read verifier\.bin"):
        work.run(verify.STAGE, "damaged", samples=2)


def test_a_verifier_that_accepts_a_forgery_is_found_out(
    mlp: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(made: Proof, commits: bool) -> Iterator[tuple[str, Proof]]:
        yield "nothing changed", made

    monkeypatch.setattr(verify, "forged", same)
    with pytest.raises(StageError, match="a proof with nothing changed was accepted"):
        copied(mlp, tmp_path).run(verify.STAGE, "verify", samples=2)


def test_a_circuit_of_another_network_misses_its_limits(mlp: Workplace, tmp_path: Path) -> None:
    work = copied(mlp, tmp_path)
    other = circuits.mlp()
    bias = next(weight for weight in other.graph.initializer if weight.name == "second.bias")
    bias.CopyFrom(circuits.initializer("second.bias", np.full(4, 3.0)))
    onnx_files.write_model(other, tmp_path / "simplify" / "model.onnx")
    with pytest.raises(StageError, match=r"largest error 3\.\d+ is above max_abs_error 0\.15"):
        work.run(verify.STAGE, "verify", samples=4)


def test_a_proof_that_states_other_scores_than_the_circuit_is_found_out(
    mlp: Workplace, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = images(1, seed=9)
    made = prover.Prover(mlp.root / "emit", store, threads=1).prove(x[0])

    def another_samples(*_: Any, **__: Any) -> prover.Proved:
        return made

    monkeypatch.setattr(prover.Prover, "prove", another_samples)
    with pytest.raises(StageError, match=r"the proof states the scores .* and the circuit computes"):
        copied(mlp, tmp_path).run(verify.STAGE, "verify", samples=2)


def test_gas_is_counted_as_ethereum_does() -> None:
    call = evm.calldata(b"\1" * 64, [0, 5])
    assert call[:4].hex() == "1e8e1e13"  # verifyProof(bytes,uint256[])
    assert len(call) == 4 + 32 * (2 + 1 + 2 + 1 + 2)
    nonzero = len(call) - call.count(0)
    assert evm.most_gas(b"\1" * 64, [0, 5], 10**6) == 21_000 + 10**6 + 16 * nonzero + 4 * call.count(0)
    # cheap to run: the floor of EIP-7623
    assert evm.most_gas(b"\0" * 64, [0, 5], 0) == 21_000 + 40 * nonzero + 10 * call.count(0)
