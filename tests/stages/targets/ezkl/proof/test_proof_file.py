# environment: ezkl
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recast.stages.base import StageError
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.process.calls import Ezkl
from recast.stages.targets.ezkl.proof import proof_file, prover
from recast.stages.targets.ezkl.proof.proof_file import Proof
from recast.stages.targets.ezkl.verify import flipped, forged
from tests.lib.onnx_models import Workplace, images

X, LABELS = images(1, seed=5)


@pytest.fixture(scope="module")
def made(mlp: Workplace, store: Path) -> prover.Proved:
    return prover.Prover(mlp.root / "emit", store, threads=1).prove(X[0])


@pytest.fixture
def check(mlp: Workplace, store: Path, tmp_path: Path) -> Any:
    emitted, ezkl = mlp.root / "emit", Ezkl(tmp_path, 1)
    circuit, file = settings.read(emitted / settings.FILE), srs.locate(srs.read(emitted), store, ezkl)
    return lambda one: proof_file.verify(one, circuit, emitted / keys.VERIFICATION_KEY, file, ezkl)


def test_a_proof_states_the_scores_and_survives_its_file(made: prover.Proved, check: Any, tmp_path: Path) -> None:
    assert made.scores is not None
    assert max(range(4), key=made.scores.__getitem__) == LABELS[0]
    made.proof.write(tmp_path / "proof.json")
    assert proof_file.read(tmp_path / "proof.json") == made.proof
    check(made.proof)


def test_every_forgery_is_rejected(made: prover.Proved, check: Any) -> None:
    forgeries = forged(made.proof)
    assert len(forgeries) == 4
    for _, forgery in forgeries:
        with pytest.raises(StageError, match=r"does not hold|bytes after its end"):
            check(forgery)


@pytest.mark.parametrize("extra", [1, 31, 32, 33, 64, 320])
def test_bytes_behind_the_proof_are_rejected_though_ezkl_takes_them(
    made: prover.Proved, check: Any, mlp: Workplace, store: Path, tmp_path: Path, extra: int
) -> None:
    longer = replace(made.proof, proof=made.proof.proof + "00" * extra)
    assert ezkl_accepts(longer.for_ezkl(tmp_path / "proof.json"), mlp, store, tmp_path)
    with pytest.raises(StageError, match="has bytes after its end"):
        check(longer)


def test_ezkl_believes_what_we_do_not_read(made: prover.Proved, mlp: Workplace, store: Path, tmp_path: Path) -> None:
    """Hence scores are taken from the instances, and our file has nothing else."""
    file = made.proof.for_ezkl(tmp_path / "proof.json")
    edited = json.loads(file.read_text())
    edited |= {"hex_proof": "0x00", "pretty_public_inputs": {"rescaled_outputs": [["1000", "0", "0", "0"]]}}
    others = ("rescaled_inputs", "inputs", "processed_inputs", "processed_params", "processed_outputs", "outputs")
    edited["pretty_public_inputs"] |= {key: [] for key in others}
    file.write_text(json.dumps(edited))
    assert ezkl_accepts(file, mlp, store, tmp_path)
    # the same file, given to us, is none of ours
    with pytest.raises(StageError, match="is nested deeper than a proof"):
        proof_file.read(file)


def ezkl_accepts(file: Path, work: Workplace, store: Path, place: Path) -> bool:
    emitted, ezkl = work.root / "emit", Ezkl(place, 1)
    answer = ezkl(
        "verify",
        proof_path=str(file),
        settings_path=str(emitted / settings.FILE),
        vk_path=str(emitted / keys.VERIFICATION_KEY),
        srs_path=str(srs.locate(srs.read(emitted), store, ezkl)),
    )
    return answer.values == [True]


def test_a_wrong_number_of_instances_and_numbers_that_are_none_are_rejected(made: prover.Proved, check: Any) -> None:
    good = made.proof.instances
    for instances, message in (
        (good[:-1], "has 3 instances, and the circuit 4"),
        ((), "has 0 instances, and the circuit 4"),
        ((*good, good[0]), "has 5 instances"),
        (("ff" * 32, *good[1:]), "is no element of the field"),
        # the same number modulo the order, and not the same proof
        ((as_felt(made.proof.public[0] + settings.ORDER), *good[1:]), "is no element of the field"),
    ):
        with pytest.raises(StageError, match=message):
            check(replace(made.proof, instances=instances))


def as_felt(value: int) -> str:
    return value.to_bytes(32, "little").hex()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"format": "recast ezkl proof 2"}, "does not say 'format'"),
        ({"outputs": 1}, "unknown key 'outputs'"),
        ({"proof": "0X00"}, "hexadecimal"),
        ({"proof": "AB"}, "hexadecimal"),
        ({"proof": ""}, "hexadecimal"),
        ({"proof": "00 11"}, "hexadecimal"),
        ({"proof": 12}, "hexadecimal"),
        ({"proof": [1, 2]}, "nested deeper"),
        ({"instances": [1, 2, 3, 4]}, "'instances' is a list of texts"),
        ({"instances": ["AB" * 32]}, "in lower case"),
        ({"insecure": "no"}, "'insecure' is true or false"),
        ({"circuit": None}, "'circuit' a text"),
    ],
)
def test_the_file_is_read_strictly(made: prover.Proved, tmp_path: Path, edit: dict[str, Any], message: str) -> None:
    made.proof.write(tmp_path / "proof.json")
    raw = json.loads((tmp_path / "proof.json").read_text())
    (tmp_path / "proof.json").write_text(json.dumps({**raw, **edit}))
    with pytest.raises(StageError, match=message):
        proof_file.read(tmp_path / "proof.json")


def test_a_file_that_says_a_key_twice_or_lacks_one_is_refused(made: prover.Proved, tmp_path: Path) -> None:
    made.proof.write(tmp_path / "proof.json")
    text = (tmp_path / "proof.json").read_text()
    for content, message in (
        (text.replace('"insecure": true', '"insecure": true, "insecure": false'), "it says a key twice"),
        (text.replace('"insecure": true,', ""), "it has no key 'insecure'"),
        ("[]", "is no proof"),
        ("", "is no proof"),
        ("[" * 100000, "is no proof"),
    ):
        (tmp_path / "proof.json").write_text(content)
        with pytest.raises(StageError, match=message):
            proof_file.read(tmp_path / "proof.json")
    with pytest.raises(StageError, match=r"cannot read the proof absent\.json"):
        proof_file.read(tmp_path / "absent.json")


def test_the_key_of_another_circuit_rejects(
    made: prover.Proved, sigmoid: Workplace, store: Path, tmp_path: Path
) -> None:
    emitted, ezkl = sigmoid.root / "emit", Ezkl(tmp_path, 1)
    circuit, file = settings.read(emitted / settings.FILE), srs.locate(srs.read(emitted), store, ezkl)
    with pytest.raises(StageError, match="does not hold"):
        proof_file.verify(made.proof, circuit, emitted / keys.VERIFICATION_KEY, file, ezkl)


def test_the_smallest_change_anywhere_is_rejected(made: prover.Proved, check: Any) -> None:
    content = made.proof.content
    for place in (0, 31, len(content) // 3, len(content) - 1):
        with pytest.raises(StageError, match="does not hold"):
            check(Proof(made.proof.circuit, True, made.proof.instances, flipped(content, place).hex()))
