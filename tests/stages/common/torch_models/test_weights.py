# environment: torch
from __future__ import annotations

import os
import pickle
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from recast.stages.base import StageError
from recast.stages.common.torch_models.weights import load_weights, write_weights
from tests.lib.damage import damaged, flipped
from tests.lib.tally import Tally


def model(width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.out.weight = self.into.weight


def refused(path: Path, into: nn.Module | None = None) -> str:
    with pytest.raises(StageError) as caught:
        load_weights(into or model(), path, "w.pt")
    return f"{caught.value.message} | {caught.value.remedy}"


def test_weights_survive_writing_and_reading_and_have_the_same_bytes(tmp_path: Path) -> None:
    written, read = model(), nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    write_weights(written, tmp_path / "a.safetensors")
    write_weights(written, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    load_weights(read, tmp_path / "a.safetensors", "a")
    assert all(torch.equal(read.state_dict()[name], value) for name, value in written.state_dict().items())
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask  # readable in a shared cache


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model", "module.", "_orig_mod.", "both"])
def test_common_wrappers_are_seen_through(tmp_path: Path, wrap: str) -> None:
    state = model().state_dict()
    content: Any = {f"{wrap}{name}": value for name, value in state.items()} if wrap[-1] == "." else {wrap: state}
    if wrap == "both":
        content = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(content, tmp_path / "w.pt")
    load_weights(read := nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)), tmp_path / "w.pt", "w")
    assert torch.equal(read[0].weight, state["0.weight"])


def test_tied_weights_are_written_and_read_under_any_of_their_names(tmp_path: Path) -> None:
    write_weights(tied := Tied(), tmp_path / "all.safetensors")
    save_model(tied, str(tmp_path / "one.safetensors"))  # keeps one of the two names
    for name in ("all", "one"):
        load_weights(read := Tied(), tmp_path / f"{name}.safetensors", name)
        assert torch.equal(read.out.weight, tied.into.weight) and read.out.weight is read.into.weight


def test_a_pickle_with_code_in_it_is_refused_and_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"0.weight": Bomb()}, tmp_path / "w.pt")
    message = refused(tmp_path / "w.pt")
    assert message.startswith("w.pt is not a plain state dict: it is damaged, or holds pickled Python objects")
    assert "torch.save(model.state_dict(), ...)" in message
    (tmp_path / "w.pt").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path / "w.pt")
    torch.save(model(), tmp_path / "w.pt")  # a whole module
    assert "not a plain state dict" in refused(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    for name in ("w.pt", "w.safetensors"):
        for content in (b"", b"not weights", b"PK\x03\x04 torn"):
            (tmp_path / name).write_bytes(content)
            assert "damaged" in refused(tmp_path / name)
        (tmp_path / name).unlink()
        assert "w.pt" in refused(tmp_path / name)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = model().state_dict()
    state["extra"] = state.pop("2.bias")
    state["0.weight"] = torch.zeros(5, 2)
    save_file(state, tmp_path / "w.safetensors")
    message = refused(tmp_path / "w.safetensors")
    assert (
        "w.pt does not fit Sequential: missing 2.bias; unexpected extra; of another shape: 0.weight (5, 2)" in message
    )
    assert "in the file, (3, 2) in the model" in message
    torch.save([1, 2], tmp_path / "w.pt")
    assert "w.pt holds no state dict but list" in refused(tmp_path / "w.pt")
    torch.save({"epoch": 1, "lr": 0.1}, tmp_path / "w.pt")
    assert "w.pt holds no state dict but the keys epoch, lr" in refused(tmp_path / "w.pt")
    broken = model().state_dict() | {"2.bias": torch.tensor([0.0, float("nan")])}
    torch.save(broken, tmp_path / "w.pt")
    assert "w.pt holds NaN or infinity in 2.bias" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("count", [75, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("damage", ["bytes", "bits"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.fault("bytes or bits of a checkpoint changed (zip, legacy, safetensors): loaded or refused, at once")
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_checkpoint_is_read_or_refused(
    tmp_path: Path, tally: Tally, kind: str, damage: str, count: int
) -> None:
    """PyTorch's unpickler raises IndexError, struct.error and AssertionError, among others."""
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        write_weights(model(), path)
    else:
        torch.save(model().state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    whole, choose, refused = path.read_bytes(), random.Random(0), 0
    each = damaged(whole, count) if damage == "bytes" else (flipped(whole, choose) for _ in range(count))
    for number, content in enumerate(each):
        path.write_bytes(content)
        load = partial(load_weights, model(), path, path.name)
        refused += tally.refused_or_done(f"{kind} {number}", load, StageError, 5)
    assert not tally.losses, tally.losses[:3]
    assert 0 < refused <= count


class Versioned(nn.Linear):
    """As torchvision's MNASNet: it asks the weights that it loads for the version of the layer they are of."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: dict[str, Any], *others: Any) -> None:
        if metadata.get("version") != 2:
            raise ValueError("version should be set")
        super()._load_from_state_dict(state, prefix, metadata, *others)


def test_a_layer_that_looks_at_its_version_loads_a_bare_file(tmp_path: Path) -> None:
    written, read = Versioned(2, 2), Versioned(2, 2)
    write_weights(written, tmp_path / "w.safetensors")
    load_weights(read, tmp_path / "w.safetensors", "w.safetensors")
    assert torch.equal(read.weight, written.weight)
