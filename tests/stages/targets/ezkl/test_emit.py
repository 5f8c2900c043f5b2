# environment: ezkl
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recast.stages.base import StageError
from recast.stages.targets.ezkl import calibrate, emit, quantize
from recast.stages.targets.ezkl.circuit import cost, settings
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.onchain import evm, solidity
from recast.stages.targets.ezkl.process.calls import Ezkl
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace, contents


def copied(work: Workplace, root: Path) -> Workplace:
    for name in ("data", "simplify", "quantize", "calibrate"):
        (root / name).symlink_to(work.root / name)
    return Workplace(root)


def test_calibrated_and_emitted_twice_from_nothing_gives_the_same_keys(mlp: Workplace, tmp_path: Path) -> None:
    # a store of its own, so that everything is made again
    (tmp_path / ".recast").mkdir()
    work = circuits.emitted(tmp_path / "again", circuits.mlp())
    assert contents(work.root / "emit") == contents(mlp.root / "emit")
    made = {path.name: path.read_bytes() for path in (tmp_path / ".recast" / "local" / "ezkl").rglob("*.key")}
    identity = keys.identity(mlp.root / "emit", srs.read(mlp.root / "emit").sha256)
    theirs = mlp.root.parent / ".recast" / "local" / "ezkl" / identity
    assert made == {name: (theirs / name).read_bytes() for name in ("pk.key", "vk.key")}


def test_the_contract_is_the_same_each_time_and_runs_within_the_limit(contract: Workplace, tmp_path: Path) -> None:
    work = copied(contract, tmp_path)
    metrics = work.run(emit.STAGE, "emit", insecure_srs=True, require_deployable=True)
    assert contents(tmp_path / "emit") == contents(contract.root / "emit")
    code = evm.read_code(tmp_path / "emit" / solidity.CODE)
    assert metrics["evm_code_bytes"] == len(code) <= cost.EIP_170_BYTES
    assert metrics["evm_deployable"] is True
    assert cost.predict(settings.read(tmp_path / "emit" / settings.FILE)).code == pytest.approx(len(code), rel=0.05)


def test_what_is_insecure_says_so_everywhere(contract: Workplace, mlp: Workplace) -> None:
    emitted = contract.root / "emit"
    assert srs.WARNING in (emitted / "README.md").read_text()
    assert srs.WARNING in (emitted / solidity.SOURCE).read_text().splitlines()[1]
    assert '"insecure": true' in (emitted / srs.RECORD).read_text()
    assert "verifier.sol" not in (mlp.root / "emit" / "README.md").read_text()


def test_no_large_file_is_an_output_unless_asked_for(mlp: Workplace, tmp_path: Path) -> None:
    assert not {"pk.key", "model.compiled"} & set(contents(mlp.root / "emit"))
    work = copied(mlp, tmp_path)
    work.run(emit.STAGE, "emit", insecure_srs=True, evm=False, share_pk=True)
    made = keys.ensure(tmp_path / "emit", tmp_path / "store", Ezkl(tmp_path, 1))
    assert made.proving == tmp_path / "emit" / "pk.key"


def test_a_missing_proving_key_is_made_again(mlp: Workplace, tmp_path: Path) -> None:
    ezkl, emitted = Ezkl(tmp_path, 1), mlp.root / "emit"
    made = keys.ensure(emitted, tmp_path / "store", ezkl)
    first = made.proving.read_bytes()
    made.proving.unlink()
    made.compiled.unlink()
    assert keys.ensure(emitted, tmp_path / "store", ezkl).proving.read_bytes() == first
    assert made.compiled.is_file()


def test_a_verification_key_of_another_circuit_is_noticed_when_the_other_is_made(
    mlp: Workplace, sigmoid: Workplace, tmp_path: Path
) -> None:
    shutil.copytree(mlp.root / "emit", tmp_path / "emit")
    shutil.copyfile(sigmoid.root / "emit" / "vk.key", tmp_path / "emit" / "vk.key")
    for _ in range(2):  # nothing of the refused one stays behind
        with pytest.raises(StageError, match=r"emit/vk\.key is not the verification key of this circuit and SRS"):
            keys.ensure(tmp_path / "emit", tmp_path / "store", Ezkl(tmp_path, 1))


def test_without_node_the_contract_is_an_error_with_a_way_out(
    mlp: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match="the Solidity verifier needs node, which is not installed") as caught:
        copied(mlp, tmp_path).run(emit.STAGE, "emit", insecure_srs=True)
    assert "set emit.evm to false" in caught.value.remedy


def test_without_npm_the_compiler_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "node").write_text("#!/bin/sh\n")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match="needs npm, which is not installed"):
        solidity.install(tmp_path / "store")


def test_another_package_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, does in (("node", "true"), ("npm", "echo other > solc-0.8.20.tgz")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(StageError, match=r"npm fetched a solc@0\.8\.20 of SHA-512"):
        solidity.install(tmp_path / "store")
    assert not list((tmp_path / "store").rglob("*.js"))


def test_a_compiler_that_npm_has_kept_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("npm") is None:
        pytest.skip("the Solidity compiler comes by npm, which is not installed")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "kept"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with monkeypatch.context() as unplugged:
        unplugged.setenv("npm_config_registry", "http://127.0.0.1:9")
        with pytest.raises(StageError, match=r"npm cannot fetch solc@0\.8\.20: .*ECONNREFUSED") as caught:
            solidity.install(tmp_path / "nothing")
        assert "connect to the network" in caught.value.remedy
    solidity.install(tmp_path / "first")
    monkeypatch.setenv("npm_config_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_https_proxy", "http://127.0.0.1:9")
    assert solidity.install(tmp_path / "second").stat().st_size > 10**6


@pytest.mark.slow
def test_a_contract_too_large_for_a_chain_is_refused_when_it_must_be_deployed(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("the Solidity compiler comes by npm, which is not installed")
    work = circuits.workplace(tmp_path / "wide", circuits.mlp())
    work.run(quantize.STAGE, "quantize", num_inner_cols=1, decomp_base=64, decomp_legs=5)
    work.run(calibrate.STAGE, "calibrate", max_logrows=7)
    with pytest.raises(StageError, match=r"the Solidity verifier has \d+ bytes of code, and EIP-170 allows 24576"):
        work.run(emit.STAGE, "emit", insecure_srs=True, require_deployable=True)
