# environment: torch
"""Data that need not fit in memory: a few samples at a time give the same files, and hold little."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from recast.stages.base import Inputs, ModelReference, ProjectCode, StageError
from recast.stages.common import npz_files
from recast.stages.common.dataset import read_arrays, read_contract
from recast.stages.trunk import calibration, data, train
from recast.stages.trunk.own_data import Audio
from recast.stages.trunk.sources import spilled, wav_folder
from tests.lib import own_models
from tests.lib.onnx_models import contents

RANDOM = np.random.default_rng(0)
AUDIO = {"rate": 8000, "seconds": 0.25, "features": "mfcc", "frame": 256, "hop": 128}
SAMPLES = """\
import numpy as np


class Sequence:
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, number):
        return self.samples[number]


def images():
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3)).astype(np.uint8)
    split = np.array(["train", "test"] * 10 + ["validation"] * 20)
    return {"x": Sequence(x), "y": np.arange(40) // 2 % 2, "split": split}


def recordings():
    waves = np.random.default_rng(0).integers(-9000, 9000, (40, 2500)).astype(np.int16)
    return Sequence([(wave, number % 2) for number, wave in enumerate(waves)])


def unlike():
    return Sequence([np.zeros(3 + number // 5, np.float32) for number in range(20)]), np.arange(20) % 2


def lost(roots):
    found = [root / "mine.npy" for root in roots if (root / "mine.npy").exists()]
    x = np.load(found[0])
    return x, np.arange(len(x)) % 2
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return own_models.lay(tmp_path, SAMPLES, monkeypatch)


def run(root: Path, name: str, roots: tuple[Path, ...] = (), **params: Any) -> Path:
    out, scratch = root / name, root / f"{name}.scratch"
    out.mkdir()
    scratch.mkdir()
    checked = data.DataParams(**params)
    files = {"path": root / checked.path} if checked.path else {}
    inputs = Inputs({}, files, data_roots=roots, scratch=scratch, project=ProjectCode(root))
    data.STAGE.run(checked, inputs, out)
    return out


def images(root: Path) -> dict[str, Any]:
    for number in range(40):
        split, mode = ("train", "train", "val", "test")[number // 10], ("L", "RGB")[number % 3 == 0]
        path = root / f"photos/{split}/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = RANDOM.integers(0, 256, (6, 5, 3)).astype(np.uint8)
        Image.fromarray(pixels if mode == "RGB" else pixels[..., 0]).save(path)
    return {"dataset": "image_folder", "path": "photos", "grayscale": True, "resize": 4}


def doubles(root: Path) -> dict[str, Any]:
    np.savez(root / "own.npz", x=RANDOM.normal(size=(40, 5, 4, 3)), y=np.arange(40) % 2, groups=np.arange(40) // 4)
    return {"dataset": "npz", "path": "own.npz", "layout": "nhwc"}


def sounds(root: Path) -> dict[str, Any]:
    for number in range(40):
        path = root / f"sounds/{'ab'[number % 2]}/{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(path, 8000, RANDOM.integers(-9000, 9000, 2500).astype(np.int16))
    return {"dataset": "wav_folder", "path": "sounds", "audio": AUDIO}


def sequences(root: Path) -> dict[str, Any]:
    return {"dataset": "python", "function": f"{next(root.glob('*.py')).stem}:images", "layout": "nhwc"}


@pytest.mark.parametrize("make", [images, doubles, sounds, sequences], ids=lambda make: make.__name__)
def test_a_few_at_a_time_give_the_same_files(
    make: Callable[[Path], dict[str, Any]], tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make(tmp_path)
    at_once = contents(run(tmp_path, "at_once", **params))
    monkeypatch.setattr(npz_files, "CHUNK", 200)
    assert contents(run(tmp_path, "by_few", **params)) == at_once
    assert any((tmp_path / "by_few.scratch").glob("*.npy"))


@pytest.mark.slow
def test_what_is_held_does_not_grow_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_files, "CHUNK", 2**16)
    monkeypatch.setattr(calibration, "LOOKED_AT", 16)
    nets = own_models.lay(tmp_path, _NET, monkeypatch)
    _held(tmp_path, nets, 100, traced=False)  # what is imported is no part of it, and takes long to trace
    held = [_held(tmp_path, nets, count) for count in (400, 1600)]
    assert all(large - small < 1200 * _SIDE**2 / 4 for small, large in zip(*held, strict=True))


def _held(root: Path, nets: str, count: int, traced: bool = True) -> tuple[int, int]:
    """The most that `data` and `train` hold, in bytes, of so many images."""

    def images(part: slice) -> Any:
        return RANDOM.integers(0, 256, (part.stop - part.start, 1, _SIDE, _SIDE), np.uint8)

    labels, out = np.arange(count) % 2, root / f"train{count}"
    x, y = npz_files.Written(count, images), npz_files.Written(count, lambda part: labels[part])
    npz_files.write(root / f"{count}.npz", {"x": x, "y": y})
    of_data = _peak(lambda: run(root, f"data{count}", dataset="npz", path=f"{count}.npz"), traced)
    out.mkdir()
    params = train.TrainParams(model=ModelReference(name=f"{nets}:Net"), epochs=1, batch_size=20)
    inputs = Inputs({"data": root / f"data{count}"}, {}, project=ProjectCode(root))
    return of_data, _peak(lambda: train.STAGE.run(params, inputs, out), traced)


def _peak(work: Callable[[], object], traced: bool) -> int:
    if not traced:
        work()
        return 0
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


_SIDE = 64
_NET = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(16, 2))
"""


def test_recordings_of_a_function_become_features(tmp_path: Path, module: str) -> None:
    audio = Audio(**AUDIO)
    out = run(tmp_path, "out", dataset="python", function=f"{module}:recordings", audio=AUDIO)
    assert read_contract(out).front_end == wav_folder.front_end(audio)
    found = {array.tobytes() for name in ("train", "test", "validation") for array in read_arrays(out, name)["x"]}
    waves = np.random.default_rng(0).integers(-9000, 9000, (40, 2500)).astype(np.int16)
    wanted = {wav_folder.features((wave / 2**15).astype(np.float32), audio).tobytes() for wave in waves}
    assert found == wanted
    waveform = run(
        tmp_path, "wave", dataset="python", function=f"{module}:recordings", audio={**AUDIO, "features": "waveform"}
    )
    assert read_contract(waveform).shape == (1, 2000)


def test_a_function_is_given_the_data_roots(tmp_path: Path, module: str) -> None:
    with pytest.raises(StageError, match="fails: IndexError"):
        run(tmp_path, "none", (tmp_path / "empty",), dataset="python", function=f"{module}:lost")
    (tmp_path / "roots").mkdir()
    np.save(tmp_path / "roots/mine.npy", RANDOM.normal(size=(20, 3)).astype(np.float32))
    out = run(tmp_path, "out", (tmp_path / "empty", tmp_path / "roots"), dataset="python", function=f"{module}:lost")
    assert read_contract(out).shape == (3,)


def test_samples_that_are_not_alike(tmp_path: Path, module: str) -> None:
    with pytest.raises(StageError, match=r"unlike: sample 5 is float32 of shape \(4,\), the first float32 of \(3,\)"):
        run(tmp_path, "out", dataset="python", function=f"{module}:unlike")


def test_rows_are_those_of_the_array() -> None:
    array = RANDOM.normal(size=(9, 2))
    rows = spilled.Rows(array, np.array([8, 1, 3]))
    assert (len(rows), rows.shape, rows.dtype, rows.nbytes) == (3, (3, 2), array.dtype, 48)
    assert np.array_equal(rows[np.array([2, 0])], array[[3, 8]]) and np.array_equal(rows[1:], array[[1, 3]])
