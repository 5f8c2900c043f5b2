# environment: ezkl
from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.registry import load_verb
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.keys import srs
from recast.stages.targets.ezkl.proof import check_proof, prove
from recast.stages.verb import Artifacts
from tests.lib.onnx_models import Workplace, images

X, LABELS = images(1, seed=11)


@pytest.fixture
def artifacts(mlp: Workplace, store: Path) -> Artifacts:
    return Artifacts("quadrants", "ezkl", {"emit": mlp.root / "emit"}, {}, store)


def called(verb: Any, artifacts: Artifacts, *words: str) -> None:
    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    options: dict[str, Any] = vars(parser.parse_args(words))
    verb.run(json.loads(json.dumps(options)), artifacts)


def everything_below(*folders: Path) -> dict[Path, bytes]:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


def test_a_proof_is_made_checked_and_tells_nothing_of_the_input(
    artifacts: Artifacts, mlp: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 8, 8), dtype=np.uint8)
    (tmp_path / "private").mkdir()
    np.savez(tmp_path / "private" / "input.npz", x=x)
    before = set(everything_below(mlp.root, store))
    called(prove, artifacts, str(tmp_path / "private" / "input.npz"), "-o", str(tmp_path / "proof.json"))
    assert srs.WARNING in capsys.readouterr().out

    after = everything_below(mlp.root, store.parent)
    assert (store.parent / "logs" / "prove.log") in after
    assert set(everything_below(mlp.root, store)) - before <= {store / "ezkl" / "licence-notice"}
    # as EZKL writes it into its input and, as elements of the field, into its witness; and as it is stored
    normalised = (x.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    scale = 2 ** settings.read(mlp.root / "emit" / settings.FILE).raw["run_args"]["input_scale"]
    felts = [(round(float(value) * scale) % settings.ORDER).to_bytes(32, "little").hex() for value in normalised.flat]
    traces = [
        json.dumps(normalised.reshape(-1).tolist()[:6])[1:-1].encode(),
        '", "'.join(felts[:3]).encode(),
        '","'.join(felts[:3]).encode(),
        x.tobytes()[:24],
    ]
    read = after | {tmp_path / "proof.json": (tmp_path / "proof.json").read_bytes()}
    assert len(read) > 10
    for path, content in read.items():
        for trace in traces:
            assert trace not in content, path
    # the traces are those of the input: they are found where it is
    assert traces[-1] in (tmp_path / "private" / "input.npz").read_bytes()

    called(check_proof, artifacts, str(tmp_path / "proof.json"))
    said = capsys.readouterr().out
    assert srs.WARNING in said
    assert "the proof holds: class " in said


def test_the_scores_come_from_the_instances(
    artifacts: Artifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "input.npz", x=X)
    called(prove, artifacts, str(tmp_path / "input.npz"), "-o", str(tmp_path / "proof.json"))
    called(check_proof, artifacts, str(tmp_path / "proof.json"))
    assert f"class {['nw', 'ne', 'sw', 'se'][LABELS[0]]}\n" in capsys.readouterr().out
    raw = json.loads((tmp_path / "proof.json").read_text())

    # labels that exclude each other not: the largest is no answer
    labels = tmp_path / "labels"
    shutil.copytree(artifacts.directories["emit"], labels)
    contract = json.loads((labels / "input.json").read_text())
    (labels / "input.json").write_text(json.dumps({**contract, "task": {"name": "multilabel"}}))
    called(check_proof, replace(artifacts, directories={"emit": labels}), str(tmp_path / "proof.json"))
    said = capsys.readouterr().out
    assert "the proof holds\n  nw: " in said and "class" not in said

    def edited(**changes: Any) -> str:
        (tmp_path / "edited.json").write_text(json.dumps({**raw, **changes}))
        return str(tmp_path / "edited.json")

    with pytest.raises(StageError, match="the proof does not hold"):
        called(check_proof, artifacts, edited(instances=list(reversed(raw["instances"]))))
    with pytest.raises(StageError, match="is a proof for another circuit"):
        called(check_proof, artifacts, edited(circuit="0" * 64))
    with pytest.raises(StageError, match="says insecure: False, and its circuit is not so"):
        called(check_proof, artifacts, edited(insecure=False))
    with pytest.raises(StageError, match="has bytes after its end"):
        called(check_proof, artifacts, edited(proof=raw["proof"] + "00" * 32))
    assert capsys.readouterr().out == ""


def test_nothing_is_written_when_the_input_or_the_place_is_wrong(artifacts: Artifacts, tmp_path: Path) -> None:
    np.savez(tmp_path / "input.npz", x=X[0, 0])
    with pytest.raises(StageError, match=r"holds numbers of shape \(8, 8\)"):
        called(prove, artifacts, str(tmp_path / "input.npz"), "-o", str(tmp_path / "proof.json"))
    with pytest.raises(StageError, match="there is no folder"):
        called(prove, artifacts, str(tmp_path / "input.npz"), "-o", str(tmp_path / "absent" / "proof.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["input.npz"]


def test_a_target_without_circuits_has_nothing_to_prove(tmp_path: Path) -> None:
    other = Artifacts("digits", "akida", {"emit": tmp_path}, {}, tmp_path)
    for verb, words in ((prove, ("input.npz", "-o", str(tmp_path / "proof.json"))), (check_proof, ("proof.json",))):
        with pytest.raises(StageError, match="digits/akida is no circuit"):
            called(verb, other, *words)


def test_a_relative_store_and_folder_will_do(
    mlp: Workplace, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "input.npz", x=X)
    monkeypatch.chdir(tmp_path)
    relative: Callable[[Path], Path] = lambda path: Path(os.path.relpath(path, tmp_path))  # noqa: E731
    artifacts = Artifacts("quadrants", "ezkl", {"emit": relative(mlp.root / "emit")}, {}, relative(store))
    called(prove, artifacts, "input.npz", "-o", "proof.json")
    called(check_proof, artifacts, "proof.json")


def test_both_verbs_are_registered() -> None:
    assert load_verb("prove").run is prove.run
    assert load_verb("check-proof").run is check_proof.run
    assert load_verb("prove").reads == load_verb("check-proof").reads == ("emit",)
