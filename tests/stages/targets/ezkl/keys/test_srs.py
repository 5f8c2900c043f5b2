# environment: ezkl
from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from recast.stages.base import Inputs, StageError
from recast.stages.targets.ezkl import emit
from recast.stages.targets.ezkl.keys import srs
from recast.stages.targets.ezkl.keys.local_store import sha256
from recast.stages.targets.ezkl.process.calls import Ezkl, EzklError
from recast.stages.targets.ezkl.proof import prover
from tests.lib.onnx_models import Workplace


def test_get_srs_deletes_a_file_it_does_not_know_and_ours_does_not_give_it_one(tmp_path: Path) -> None:
    ezkl = Ezkl(tmp_path / "home", 1)
    local = tmp_path / "kzg.srs"
    local.write_bytes(b"made by hand")
    # what is to be guarded against: the file is gone, whether or not a network has another
    with suppress(EzklError):
        ezkl("get_srs", settings_path=None, logrows=6, srs_path=str(local))
    assert not local.exists() or local.read_bytes() != b"made by hand"

    store = tmp_path / "store"
    (store / "srs").mkdir(parents=True)
    ours = store / "srs" / "public-6.srs"
    ours.write_bytes(b"made by hand")
    assert srs.public(store, 6, ezkl).sha256 == sha256(ours)
    assert ours.read_bytes() == b"made by hand"


def test_without_a_network_the_public_srs_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing answers there
    with pytest.raises(StageError, match="cannot download the public SRS for k 6") as caught:
        srs.public(tmp_path / "store", 6, Ezkl(tmp_path / "home", 1))
    assert "emit.srs_sha256" in caught.value.remedy
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SRS of k 11, as a file of a user's: EZKL's own `gen_srs` draws its secret."""
    path = tmp_path_factory.mktemp("user") / "ceremony.srs"
    Ezkl(path.parent, 1)("gen_srs", srs_path=str(path), logrows=11)
    return path


def test_a_larger_file_serves_a_smaller_circuit(mlp: Workplace, larger: Path, store: Path) -> None:
    before = larger.read_bytes()
    out, scratch = mlp.root / "from_file", mlp.root / "from_file.scratch"
    for folder in (out, scratch):
        folder.mkdir()
    params = emit.EmitParams(srs="ceremony.srs", srs_sha256=sha256(larger), evm=False)
    # the local store finds a file again below the repository's root
    root = mlp.root.parent
    shutil.copyfile(larger, root / "ceremony.srs")
    inputs = Inputs({name: mlp.root / name for name in emit.STAGE.inputs}, {"srs": root / "ceremony.srs"}, (), scratch)
    metrics = emit.STAGE.run(params, inputs, out)
    assert metrics["insecure"] is False
    assert metrics["logrows"] < 11
    assert "INSECURE" not in (out / "README.md").read_text()
    made = prover.Prover(out, store, threads=1).prove(np.zeros((1, 8, 8), np.uint8))
    assert not made.proof.insecure
    # another secret, other keys
    assert (out / "vk.key").read_bytes() != (mlp.root / "emit" / "vk.key").read_bytes()
    assert larger.read_bytes() == before == (root / "ceremony.srs").read_bytes()


def test_a_file_whose_secret_is_public_does_not_pass_for_a_secure_one(store: Path, tmp_path: Path) -> None:
    made = srs.insecure(store, 7)
    path = srs.locate(made, store, Ezkl(tmp_path, 1))
    with pytest.raises(StageError, match="is one whose secret is public") as caught:
        srs.from_file(path, "kzg.srs", made.sha256, 6)
    assert "emit.insecure_srs" in caught.value.remedy


def test_a_file_that_is_not_the_one_meant_is_refused(larger: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"ceremony.srs has SHA-256 \w+; the recipe expects 0{64}"):
        srs.from_file(larger, "ceremony.srs", "0" * 64, 10)
    with pytest.raises(StageError, match="is for k up to 11, and the circuit has k 12"):
        srs.from_file(larger, "ceremony.srs", sha256(larger), 12)
    short = tmp_path / "short.srs"
    short.write_bytes(larger.read_bytes()[:-1])
    with pytest.raises(StageError, match="is damaged"):
        srs.from_file(short, "short.srs", sha256(short), 10)


def test_an_insecure_srs_is_made_again_when_it_is_missing_and_refused_when_it_is_another(
    store: Path, tmp_path: Path
) -> None:
    ezkl = Ezkl(tmp_path, 1)
    made = srs.insecure(store, 7)
    path = srs.locate(made, store, ezkl)
    path.unlink()
    assert srs.locate(made, store, ezkl).is_file()
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(StageError, match=r"insecure-7.srs has SHA-256 \w+, and the keys were made with"):
        srs.locate(made, store, ezkl)
    path.unlink()


def test_a_recipe_cannot_leave_open_which_srs_it_means() -> None:
    with pytest.raises(ValidationError, match="srs and srs_sha256 go together"):
        emit.EmitParams(srs="kzg.srs")
    with pytest.raises(ValidationError, match="contradict each other"):
        emit.EmitParams(srs="kzg.srs", srs_sha256="0" * 64, insecure_srs=True)
    with pytest.raises(ValidationError, match="require_deployable is about the Solidity verifier"):
        emit.EmitParams(evm=False, require_deployable=True)


def test_a_record_that_calls_an_insecure_srs_secure_is_refused(mlp: Workplace, tmp_path: Path) -> None:
    text = (mlp.root / "emit" / srs.RECORD).read_text()
    assert '"insecure": true' in text
    (tmp_path / srs.RECORD).write_text(text.replace('"insecure": true', '"insecure": false'))
    with pytest.raises(StageError, match="it contradicts itself"):
        srs.read(tmp_path)
