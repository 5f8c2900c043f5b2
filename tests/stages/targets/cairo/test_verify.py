# environment: cairo
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.targets.cairo.run import fast_vm, toolchain
from tests.lib.cairo.chain import emitted, verified, workplace
from tests.lib.onnx_models import Workplace


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """All four stages of the small network, and what verify says."""
    work = workplace(tmp_path_factory.mktemp("whole"))
    emitted(work)
    return work.root, verified(work, max_abs_error=1e-3, vm_samples=3)


@pytest.fixture
def built(whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The Cairo VM that `whole` has compiled already."""
    program = whole[0] / "verify.scratch" / "vm" / fast_vm.PROGRAM
    monkeypatch.setattr(fast_vm, "build", lambda *_: program)


def again(whole: tuple[Path, dict[str, Any]], to: Path) -> Workplace:
    shutil.copytree(whole[0], to / "copy", ignore=shutil.ignore_patterns("verify*", "*.scratch"))
    return Workplace(to / "copy")


def test_the_emitted_workspace_computes_what_the_float_model_does(whole: tuple[Path, dict[str, Any]]) -> None:
    root, metrics = whole
    assert metrics["agreement"] == 1
    assert 0 < metrics["max_abs_error"] < 1e-3
    assert metrics["vm_samples"] == 3
    assert sum(metrics["steps_by_layer"].values()) == metrics["steps"]
    assert {"conv_1", "max_pool_2", "gemm_3"} < set(metrics["steps_by_layer"])
    assert list(metrics["cells_by_layer"]) == list(metrics["steps_by_layer"])
    assert min(metrics["cells_by_layer"].values()) > 0
    standing = metrics["memory_cells"] - sum(metrics["cells_by_layer"].values())
    # after the program two words, behind one of them five costs; pointers of two builtins, gas, system, an array's
    # two ends, the way back; and the input
    assert standing == metrics["bytecode_felts"] + 2 + 5 + 2 + 4 + 2 + 64
    assert metrics["bytecode_felts"] > 1000 < metrics["memory_cells"]
    report = json.loads((root / "verify" / "parity.json").read_text())
    layers = {layer["tensor"] for one in report["conversions"] if one["to"] == "quantized" for layer in one["layers"]}
    assert {"features", "pooled", "scores"} <= layers
    rows = (root / "verify" / "cost_by_layer.csv").read_text().splitlines()
    assert rows[0] == "layer,steps,cells"
    names = metrics["steps_by_layer"]
    assert rows[1:] == [f"{name},{metrics['steps_by_layer'][name]},{metrics['cells_by_layer'][name]}" for name in names]


@pytest.mark.usefixtures("built")
def test_a_changed_weight_is_caught(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    work = again(whole, tmp_path)
    path = work.root / "emit/crates/layer2/src/bias.cairo"
    text = path.read_text()
    path.write_text(text.replace("08000;", "28000;"))  # the first output's bias, two units more
    assert path.read_text() != text
    with pytest.raises(StageError, match=r"the Cairo program and the mirror differ on test sample 0: output \d of 4"):
        verified(work)


@pytest.mark.usefixtures("built")
def test_sources_that_do_not_compile_are_refused_with_the_place(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    work = again(whole, tmp_path)
    path = work.root / "emit/src/inference.cairo"
    path.write_text(path.read_text().replace("write_output(", "write_outputs("))
    with pytest.raises(StageError, match=r"does not compile with Cairo 2\.1\.0: inference\.cairo:\d+:\d+: "):
        verified(work)


@pytest.mark.parametrize("killed", ["starknet-compile", "starknet-sierra-compile"])
def test_a_compiler_that_memory_does_not_suffice_for_is_not_taken_for_wrong_sources(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    """Linux ends it by SIGKILL, and it says nothing."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("starknet-compile", "starknet-sierra-compile"):
        (programs / name).write_text("#!/bin/sh\nkill -KILL $$\n" if name == killed else "#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr(toolchain, "programs", lambda: programs)
    with pytest.raises(StageError) as caught:
        verified(again(whole, tmp_path / "work"))
    assert caught.value.message == (
        f"Cairo's {killed} was ended by SIGKILL, most likely because the machine ran out of memory"
    )
    assert caught.value.remedy == "use a smaller model, or use a machine with more memory"


@pytest.mark.usefixtures("built")
def test_too_many_steps_are_refused(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"takes \d+ VM steps, above max_steps 100"):
        verified(again(whole, tmp_path), max_steps=100)


@pytest.mark.usefixtures("built")
def test_samples_beyond_the_range_are_refused(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    work = again(whole, tmp_path)
    split = dict(np.load(work.root / "data/test.npz"))
    split["x"] = split["x"].astype(np.float32) * 100
    np.savez(work.root / "data/test.npz", **split)
    with pytest.raises(StageError, match=r"samples leave the input's range"):
        verified(work)


def test_a_compiler_that_needs_more_memory_than_there_is_says_so(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the system, which would end whatever it chooses."""
    monkeypatch.setattr(toolchain, "machine_memory", lambda: 24 * 2**20)
    with pytest.raises(StageError, match=r"Cairo's starknet-compile needs more than the 0\.0 GiB of memory") as caught:
        toolchain.compile_workspace(whole[0] / "emit", tmp_path / "build")
    assert "use a smaller model" in caught.value.remedy
