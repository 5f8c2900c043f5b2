# environment: ezkl
"""What a proof makes public where the recipe wants hashes or commitments in the place of numbers, and what it hides."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recast.stages.base import StageError
from recast.stages.targets.ezkl import quantize, verify
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.process.calls import Ezkl
from recast.stages.targets.ezkl.proof import check_proof, proof_file, prove, prover, statement
from recast.stages.verb import Artifacts
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace, images

X, LABELS = images(2, seed=3)
NAMES = ("input", "output", "param")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Visibility of input, scores and weights -> a circuit that has been emitted, made once."""
    known: dict[tuple[str, ...], Workplace] = {}

    def circuit(*visibility: str) -> Workplace:
        if visibility not in known:
            root = tmp_path_factory.mktemp("-".join(visibility))
            known[visibility] = circuits.emitted(root, circuits.pooled(), quantized=quantized(*visibility))
        return known[visibility]

    return circuit


def quantized(*visibility: str) -> dict[str, str]:
    return {f"{name}_visibility": word for name, word in zip(NAMES, visibility, strict=True)}


def said(work: Workplace, store: Path, x: np.ndarray[Any, Any], place: Path, capsys: Any) -> list[str]:
    """What `check-proof` says of the proof that `prove` writes for x."""
    artifacts = Artifacts("quadrants", "ezkl", {"emit": work.root / "emit"}, {}, store)
    np.savez(place / "x.npz", x=x)
    for verb, words in ((prove, ("x.npz", "-o", "proof.json", "--threads", "1")), (check_proof, ("proof.json",))):
        parser = argparse.ArgumentParser()
        verb.arguments(parser)
        capsys.readouterr()
        words = tuple(str(place / word) if "." in word else word for word in words)
        verb.run(vars(parser.parse_args(words)), artifacts)
    shown = capsys.readouterr()
    lines: list[str] = shown.out.splitlines()
    assert shown.err == ""  # EZKL prints that it uses "column duplication"
    assert lines.pop(0) == srs.WARNING
    return lines


def marked(lines: list[str], name: str) -> list[str]:
    """The hash or the commitments in the line about a part."""
    (line,) = [line for line in lines if line.startswith(f"{name}: ")]
    return [word for word in line.split() if len(word) in (64, 128)]


@pytest.mark.parametrize(
    ("visibility", "lines"),
    [
        (("polycommit", "public", "fixed"), ["the proof holds: class ", "input: commitment "]),
        (
            ("private", "polycommit", "polycommit"),
            ["the proof holds; ", "weights: commitment ", "scores: commitment "],
        ),
        (("private", "hashed", "fixed"), ["the proof holds; ", "scores: hash "]),
        pytest.param(
            ("hashed", "polycommit", "hashed"),
            ["the proof holds; ", "input: hash ", "weights: hash ", "scores: commitment "],
            marks=pytest.mark.slow,
        ),
        (
            ("public", "hashed", "hashed"),
            ["the proof holds; ", "weights: hash ", "scores: hash ", "input: public, 64 "],
        ),
        (("private", "public", "private"), ["the proof holds: class ", "weights: private, so the proof holds for any"]),
    ],
)
def test_a_proof_is_checked_and_shows_what_it_makes_public(
    made: Any,
    store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    visibility: tuple[str, ...],
    lines: list[str],
) -> None:
    found = said(made(*visibility), store, X[0], tmp_path, capsys)
    scores = [line for line in found if line.startswith("  ")]
    assert len(scores) == (4 if visibility[1] == "public" else 0)
    rest = [line for line in found if line not in scores]
    assert len(rest) == len(lines)
    for line, expected in zip(rest, lines, strict=True):
        assert line.startswith(expected)
    if scores:
        assert rest[0] == f"the proof holds: class {['nw', 'ne', 'sw', 'se'][LABELS[0]]}"


def test_the_same_input_has_the_same_mark_and_another_input_another(
    made: Any, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = made("polycommit", "public", "fixed")
    marks, proofs = [], []
    for x in (X[0], X[0], X[1]):
        marks.append(marked(said(work, store, x, tmp_path, capsys), "input"))
        proofs.append((tmp_path / "proof.json").read_bytes())
    assert marks[0] == marks[1] != marks[2]
    assert [len(mark) for mark in marks[0]] == [128]
    # the rest of a proof is random
    assert proofs[0] != proofs[1]


@pytest.mark.parametrize(
    "visibility",
    [("polycommit", "public", "fixed"), ("private", "polycommit", "polycommit"), ("public", "hashed", "hashed")],
)
def test_forgeries_are_rejected(made: Any, tmp_path: Path, visibility: tuple[str, ...]) -> None:
    work = made(*visibility)
    for name in ("data", "simplify", "emit"):
        (tmp_path / name).symlink_to(work.root / name)
    (tmp_path / "export").mkdir()
    metrics = Workplace(tmp_path).run(verify.STAGE, "verify", samples=2, parity_samples=1)
    outputs, commitments = visibility[:2] != ("private", "polycommit"), "polycommit" in visibility
    # a changed byte, its end cut off, bytes behind it, a changed key
    assert metrics["forgeries_rejected"] == 4 + outputs + commitments


def test_another_commitment_is_another_proof(made: Any, store: Path, tmp_path: Path) -> None:
    """The inverse of the point, which is on the curve as well: what is proved would be another input."""
    emitted, ezkl = made("polycommit", "public", "fixed").root / "emit", Ezkl(tmp_path, 1)
    proof = prover.Prover(emitted, store, threads=1).prove(X[0]).proof
    forgeries = dict(verify.forged(proof, commits=True))
    assert forgeries["another commitment"].proof[:64] == proof.proof[:64]
    assert forgeries["another commitment"].proof[128:] == proof.proof[128:]
    circuit, file = settings.read(emitted / settings.FILE), srs.locate(srs.read(emitted), store, ezkl)
    with pytest.raises(StageError, match="the proof does not hold"):
        proof_file.verify(forgeries["another commitment"], circuit, emitted / keys.VERIFICATION_KEY, file, ezkl)


@pytest.mark.parametrize("word", [pytest.param("hashed", marks=pytest.mark.slow), "polycommit"])
def test_a_proof_by_another_networks_weights_is_refused(made: Any, store: Path, tmp_path: Path, word: str) -> None:
    """The verification key is the same for all weights of this shape, so it alone would let the proof pass."""
    visibility = ("hashed", "polycommit", "hashed") if word == "hashed" else ("private", "polycommit", "polycommit")
    work = made(*visibility)
    other = circuits.emitted(tmp_path / "other", circuits.pooled(3.0), quantized=quantized(*visibility))
    forged = tmp_path / "forged"
    shutil.copytree(other.root / "emit", forged)
    shutil.copyfile(work.root / "emit" / settings.FILE, forged / settings.FILE)
    (forged / keys.VERIFICATION_KEY).unlink()
    (forged / keys.VERIFICATION_KEY).write_bytes((work.root / "emit" / keys.VERIFICATION_KEY).read_bytes())
    # its keys are made here, and are found to be those of the other circuit
    proof = prover.Prover(forged, store, threads=1).prove(X[0]).proof
    proof.write(tmp_path / "proof.json")
    assert check_proof.checked(tmp_path / "proof.json", forged, store)[1]
    with pytest.raises(StageError, match=r"the proof is for other weights: it shows [0-9a-f]{64}"):
        check_proof.checked(tmp_path / "proof.json", work.root / "emit", store)


def test_a_part_that_fills_several_columns_has_as_many_commitments(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = quantized("polycommit", "public", "fixed") | {"decomp_base": 16, "decomp_legs": 6}
    work = circuits.emitted(tmp_path / "narrow", circuits.pooled(), {"max_logrows": 6}, params)
    assert settings.read(work.root / "emit" / settings.FILE).logrows == 6
    assert len(marked(said(work, store, X[0], tmp_path, capsys), "input")) == 2


def test_the_record_of_commitments_must_be_the_circuits(made: Any, store: Path, tmp_path: Path) -> None:
    emitted = made("private", "polycommit", "polycommit").root / "emit"
    circuit = settings.read(emitted / settings.FILE)
    good = json.loads((emitted / statement.RECORD).read_text())
    assert good["points"] == {"param": 1, "output": 1}
    for damaged in (
        {**good, "points": {"param": 1}},
        {**good, "points": {"param": 1, "output": 0}},
        {"points": good["points"]},
        [],
    ):
        (tmp_path / statement.RECORD).write_text(json.dumps(damaged))
        with pytest.raises(StageError, match=r"cannot read .*/commitments\.json"):
            statement.read_committed(tmp_path, circuit)
    # where nothing is hashed or committed there is none
    assert not (made("private", "public", "private").root / "emit" / statement.RECORD).exists()


def test_a_proof_that_states_something_else_than_ezkl_computed_is_not_handed_over(
    made: Any, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = statement.of_witness

    def another(witness: Path, circuit: settings.Settings) -> statement.Statement:
        stated = true(witness, circuit)
        return replace(stated, hashes={"output": "0" * 64})

    monkeypatch.setattr(statement, "of_witness", another)
    with pytest.raises(StageError, match="the proof does not state what EZKL computed"):
        prover.Prover(made("private", "hashed", "fixed").root / "emit", store, threads=1).prove(X[0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"input_visibility": "fixed"}, "would hold for that one alone: choose private, public, hashed or polycommit"),
        ({"output_visibility": "fixed"}, "would hold for that one alone"),
        ({"param_visibility": "public"}, "EZKL has no public weights: choose fixed"),
        ({"input_visibility": "hashed/public"}, "write it as hashed"),
        ({"input_visibility": "hashed/private/0"}, "EZKL 23.0.5 computes no such input"),
        ({"param_visibility": "hashed/private/0"}, "choose hashed, or private"),
        ({"input_visibility": "kzgcommit"}, "'private', 'public', 'hashed' or 'polycommit'"),
        ({"output_visibility": "private"}, "nothing is public, hashed or polycommit"),
    ],
)
def test_what_ezkl_cannot_do_is_refused_when_the_recipe_is_read(params: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        quantize.QuantizeParams(**params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("visibility", "rejected"),
    [
        (("polycommit", "polycommit", "polycommit"), 3),
        (("private", "hashed", "polycommit"), 5),
    ],
)
def test_the_contract_takes_what_is_hashed_or_committed(
    tmp_path: Path, visibility: tuple[str, ...], rejected: int
) -> None:
    if shutil.which("npm") is None:
        pytest.skip("the Solidity compiler comes by npm, which is not installed")
    work = circuits.emitted(
        tmp_path / "work", circuits.pooled(), {"optimize": "onchain"}, quantized(*visibility), evm=True
    )
    (work.root / "export").mkdir()
    metrics = work.run(verify.STAGE, "verify", samples=2, parity_samples=1)
    assert metrics["evm_deployable"] is True
    assert metrics["evm_forgeries_rejected"] == rejected
