# environment: ezkl
from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.registry import load_verb
from recast.stages.targets.ezkl.keys import keys, prune, srs
from recast.stages.targets.ezkl.keys.local_store import STORE, alone_with
from recast.stages.targets.ezkl.proof import prover
from tests.lib.onnx_models import Workplace

ROOT = Path(__file__).resolve().parents[5]
OLD = "0123456789abcdef" * 4


@pytest.fixture
def clone(mlp: Workplace, store: Path, tmp_path: Path) -> Path:
    """A clone whose only circuit is the network's, with its keys and those of one that is gone."""
    shutil.copytree(mlp.root / "emit", tmp_path / "artifacts" / "quadrants" / "ezkl" / "emit")
    (tmp_path / "artifacts" / "quadrants" / "data").mkdir()
    shutil.copytree(place(store, mlp), place(tmp_path / STORE, mlp))
    old = tmp_path / STORE / "ezkl" / OLD
    old.mkdir()
    (old / keys.PROVING_KEY).write_bytes(bytes(3 * 2**20))
    (old.parent / "licence-notice").write_text("shown\n")
    return tmp_path


def place(store: Path, work: Workplace) -> Path:
    return store / "ezkl" / keys.identity(work.root / "emit", srs.read(work.root / "emit").sha256)


def test_what_no_circuit_uses_is_listed_and_deleted_when_asked(
    clone: Path, mlp: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    old, used = clone / STORE / "ezkl" / OLD, place(clone / STORE, mlp)
    before = sorted(path.name for path in used.iterdir())
    (used / "pk.key.4711.half").write_bytes(bytes(2**20))
    prune.prune(clone)
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["kept", "4", "MiB", "artifacts/quadrants/ezkl/emit"]
    assert {" ".join(line.split()) for line in said[1:3]} == {
        f"unused 1 MiB {used.name[:12]}: what a run left unfinished",
        f"unused 3 MiB {OLD[:12]}: no emitted circuit has these keys",
    }
    assert said[3:] == ["'recast prune-keys --delete' frees 4 MiB"]
    assert old.is_dir() and (used / "pk.key.4711.half").is_file()

    prune.prune(clone, delete=True)
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["kept", "deleted", "deleted"]
    assert not old.exists()
    assert sorted(path.name for path in used.iterdir()) == before
    assert (old.parent / "licence-notice").is_file()
    prune.prune(clone, delete=True)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["kept"]


def test_a_circuit_that_comes_back_proves_again(clone: Path, mlp: Workplace) -> None:
    emitted = clone / "artifacts" / "quadrants" / "ezkl" / "emit"
    away = clone / "away"
    emitted.rename(away)
    key = (place(clone / STORE, mlp) / keys.PROVING_KEY).read_bytes()
    prune.prune(clone, delete=True)
    assert not place(clone / STORE, mlp).exists()
    away.rename(emitted)
    made = prover.Prover(emitted, clone / STORE, threads=1).prove(np.zeros((1, 8, 8), np.uint8))
    assert made.scores is not None
    assert (place(clone / STORE, mlp) / keys.PROVING_KEY).read_bytes() == key


USER = """
import sys
from pathlib import Path
from recast.stages.targets.ezkl.keys.local_store import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_keys_that_a_process_uses_are_kept_until_it_ends(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = clone / STORE / "ezkl" / OLD
    pipe = subprocess.PIPE
    user = subprocess.Popen([sys.executable, "-c", USER, str(old)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    assert user.stdout and user.stdout.readline() == "held\n"
    prune.prune(clone, delete=True)
    assert old.is_dir()
    assert f"in use {'3':>8} MiB  {OLD[:12]}" in capsys.readouterr().out
    user.kill()
    user.wait()
    prune.prune(clone, delete=True)
    assert not old.exists()


def test_whoever_makes_or_uses_keys_holds_them(mlp: Workplace, store: Path, tmp_path: Path) -> None:
    """`emit` has made them in this process, and `ensure` takes them in another."""
    code = (
        "import sys; from pathlib import Path; from recast.stages.targets.ezkl.keys import keys;"
        "from recast.stages.targets.ezkl.process.calls import Ezkl;"
        "emitted, store, place = map(Path, sys.argv[1:]); keys.ensure(emitted, store, Ezkl(place, 1));"
        "print('held', flush=True); sys.stdin.read()"
    )
    other = tmp_path / "store"
    shutil.copytree(store, other)
    command = [sys.executable, "-c", code, str(mlp.root / "emit"), str(other), str(tmp_path)]
    user = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout and user.stdout.readline() == "held\n"
    folder = place(other, mlp)
    with alone_with(folder) as alone:
        assert not alone
    user.kill()
    user.wait()
    with alone_with(folder) as alone:
        assert alone
    with alone_with(place(store, mlp)) as alone:
        assert not alone


def test_a_circuit_that_cannot_be_read_is_no_reason_to_delete(clone: Path, mlp: Workplace) -> None:
    (clone / "artifacts" / "quadrants" / "ezkl" / "emit" / "network.onnx").unlink()
    with pytest.raises(StageError, match=r"cannot tell whose keys .*quadrants/ezkl/emit has") as caught:
        prune.prune(clone, delete=True)
    assert "run emit again" in caught.value.remedy
    assert (clone / STORE / "ezkl" / OLD).is_dir()


def test_what_is_no_folder_of_keys_is_left_alone(clone: Path) -> None:
    elsewhere = clone / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / keys.PROVING_KEY).write_text("precious")
    others = clone / STORE / "ezkl"
    (others / OLD[::-1]).symlink_to(elsewhere)
    (others / "notes").mkdir()
    prune.prune(clone, delete=True)
    assert (elsewhere / keys.PROVING_KEY).is_file() and (others / "notes").is_dir()
    assert not (others / OLD).exists()


def test_a_clone_without_circuits_has_nothing_to_prune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prune.prune(tmp_path, delete=True)
    assert capsys.readouterr().out == "there are no keys here\n"
    assert list(tmp_path.iterdir()) == []


def test_the_verb_is_registered() -> None:
    verb = load_verb("prune-keys")
    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    assert vars(parser.parse_args([])) == {"delete": False}
    assert verb.reads == ()
