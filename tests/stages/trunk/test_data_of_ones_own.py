# environment: torch
"""Data in the forms in which their owners keep them, made here and read by the stage."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from pydantic import ValidationError
from scipy.io import wavfile

from recast.stages.base import Inputs, Metrics, ProjectCode, StageError
from recast.stages.common.dataset import read_arrays, read_contract
from recast.stages.tasks.readme_text import preparation
from recast.stages.trunk.data import STAGE, DataParams
from recast.stages.trunk.own_data import Audio
from recast.stages.trunk.sources import wav_folder

RANDOM = np.random.default_rng(0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place(tmp_path)


class Place:
    """A repository's folder, and what `data` makes of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, **params: Any) -> tuple[Metrics, Path]:
        out = self.root / f"out{len(list(self.root.glob('out*')))}"
        out.mkdir()
        checked = DataParams(**params)
        named = {name: getattr(checked, name) for name in ("path", "masks", "labels")}
        files = {name: self.root / path for name, path in named.items() if path}
        project = ProjectCode(self.root)
        return STAGE.run(checked, Inputs({}, files, scratch=self.root, project=project), out), out

    def refused(self, **params: Any) -> str:
        with pytest.raises(StageError) as caught:
            self.run(**params)
        assert caught.value.remedy
        return f"{caught.value.message} | {caught.value.remedy}"

    def image(self, name: str, mode: str = "RGB", size: tuple[int, int] = (6, 5)) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = len(Image.new(mode, (1, 1)).getbands())
        pixels = RANDOM.integers(0, 256, (*size, channels)).astype(np.uint8)
        Image.fromarray(pixels if channels > 1 else pixels[..., 0], mode).save(path)

    def table(self, name: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
        if name.endswith(".parquet"):
            columns = dict(zip(head, map(list, zip(*rows, strict=True)), strict=True))
            parquet.write_table(pyarrow.table(columns), self.root / name)
        else:
            with (self.root / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, delimiter="\t" if name.endswith(".tsv") else ",").writerows([head, *rows])
        return name

    def wav(self, name: str, hertz: float, rate: int = 8000, seconds: float = 0.5, dtype: str = "int16") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate) * 0.5
        scaled = {"int16": wave * 32767, "uint8": wave * 127 + 128, "float32": wave}[dtype]
        wavfile.write(path, rate, scaled.astype(dtype))


def notes(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


# images


def test_nested_folders_of_grey_colour_and_transparent_images(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        place.image(f"images/cat/2021/{number}.png")
        place.image(f"images/dog/{'deep/er/' * (number % 2)}{number}.png", ("L", "RGBA", "RGB")[number % 3])
    place.image("images/dog/moving.gif", "L")
    place.image("images/dog/.hidden.png")
    (place.root / "images/cat/notes.txt").write_text("x")
    metrics, _ = place.run(dataset="image_folder", path="images", validation_fraction=0)
    assert metrics["shape"] == [3, 6, 5] and metrics["train_samples"] + metrics["test_samples"] == 12
    assert metrics["skipped"] == {".gif files": 1, ".txt files": 1, "hidden files": 1}
    assert "images: left out 1 .gif files, 1 .txt files, 1 hidden files" in notes(capsys)


def test_a_class_with_one_image_is_said(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        place.image(f"images/cat/{number}.png")
    place.image("images/dog/1.png")
    place.run(dataset="image_folder", path="images", validation_fraction=0)
    assert "class dog has one image alone, which only one split can hold" in notes(capsys)


def test_damaged_images_are_refused_or_counted(place: Place) -> None:
    for number in range(12):
        place.image(f"images/{'ab'[number % 2]}/{number}.png")
    (place.root / "images/a/broken.png").write_bytes(b"\x89PNG nothing")
    assert "cannot read the image images/a/broken.png" in place.refused(dataset="image_folder", path="images")
    metrics, _ = place.run(dataset="image_folder", path="images", damaged="skip")
    assert metrics["skipped"] == {"damaged images": 1}


def test_ones_own_splits_are_folders(place: Place) -> None:
    counts = {"train": 5, "val": 3, "calibration": 2, "test": 4}
    for split, count in counts.items():
        for number in range(count):
            for name in ("cat", "dog"):
                place.image(f"images/{split}/{name}/{number}.png")
    metrics, out = place.run(dataset="image_folder", path="images")
    found = {name: metrics[f"{name}_samples"] for name in ("train", "validation", "calibration", "test")}
    assert found == {"train": 10, "validation": 6, "calibration": 4, "test": 8}
    assert all(set(read_arrays(out, name)["y"].tolist()) == {0, 1} for name in found)


def test_masks_beside_images(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10):
        place.image(f"photos/{number % 2}/{number}.jpg", size=(8, 6))
        mask = np.zeros((8, 6), np.uint8)
        mask[: number + 1, :3] = 255
        (place.root / f"masks/{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(place.root / f"masks/{number % 2}/{number}.png")
    said = {"dataset": "image_folder", "path": "photos", "masks": "masks", "task": {"name": "segmentation"}}
    metrics, out = place.run(**said, resize=[4, 6])
    arrays = read_arrays(out, "train")
    assert arrays["x"].shape[1:] == (3, 4, 6) and arrays["y"].shape[1:] == (4, 6) and metrics["classes"] == 2
    assert set(np.unique(arrays["y"]).tolist()) == {0, 1}
    assert "masks hold 0 and 255, which are taken for classes 0 and 1" in notes(capsys)
    place.image("photos/more.png", size=(8, 6))
    assert "1 of 11 images have no mask in masks, first more.png" in place.refused(**said)
    place.image("masks/more.png", "RGB", size=(8, 6))
    assert "the mask masks/more.png has Pillow's mode RGB" in place.refused(**said)
    place.image("masks/more.png", "L", size=(4, 6))
    assert "the mask masks/more.png is 4x6 pixels, its image 8x6 | make them one size" in place.refused(**said)


# tables


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
def test_a_table_by_the_names_of_its_columns(place: Place, name: str) -> None:
    rows = [(i, float(i) / 10, ("red", "blue")[i % 2], "unused") for i in range(40)]
    place.table(name, ("a", "b", "colour", "note"), rows)
    metrics, out = place.run(dataset="table", path=name, columns={"x": ["b", "a"], "y": "colour"})
    assert metrics["shape"] == [2] and read_contract(out).classes == ("blue", "red")
    arrays = read_arrays(out, "train")
    assert arrays["x"].dtype == np.float32 and np.allclose(arrays["x"][:, 0] * 10, arrays["x"][:, 1])
    assert (arrays["y"] == 1 - arrays["x"][:, 1] % 2).all()


def test_numbers_are_labels_of_a_regression(place: Place) -> None:
    place.table("t.csv", ("a", "y", "z"), [(i, i / 4, i * 2) for i in range(40)])
    said = {"dataset": "table", "path": "t.csv", "task": {"name": "regression"}}
    _, out = place.run(**said, columns={"x": "a", "y": "y"})
    arrays = read_arrays(out, "train")
    assert np.allclose(arrays["x"][:, 0] / 4, arrays["y"].reshape(-1))
    _, out = place.run(**said, columns={"x": "a", "y": ["y", "z"]})
    assert read_arrays(out, "train")["y"].shape[1] == 2


def test_ones_own_splits_are_a_column(place: Place) -> None:
    parts = ["train"] * 20 + ["val"] * 6 + ["calibration"] * 4 + ["Test"] * 10
    place.table("t.csv", ("a", "y", "part"), [(i, i % 2, part) for i, part in enumerate(parts)])
    columns = {"x": "a", "y": "y", "split": "part"}
    _, out = place.run(dataset="table", path="t.csv", columns=columns)
    found = {name: sorted(read_arrays(out, name)["x"][:, 0].astype(int).tolist()) for name in
             ("train", "validation", "calibration", "test")}  # fmt: skip
    expected = {"train": (0, 20), "validation": (20, 26), "calibration": (26, 30), "test": (30, 40)}
    assert found == {name: list(range(*bounds)) for name, bounds in expected.items()}
    place.table("t.csv", ("a", "y", "part"), [(1, 0, "train"), (2, 1, "holdout")])
    assert "column 'part' holds 'holdout', which is no split" in place.refused(
        dataset="table", path="t.csv", columns=columns
    )


def test_no_group_is_in_two_splits(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(i, i % 2, f"m{i % 12}") for i in range(240)]
    place.table("t.csv", ("a", "y", "machine"), rows)
    columns = {"x": "a", "y": "y", "group": "machine"}
    metrics, out = place.run(dataset="table", path="t.csv", columns=columns)
    of = {name: {int(a) % 12 for a in read_arrays(out, name)["x"][:, 0]} for name in ("train", "validation", "test")}
    assert all(of.values()) and sum(map(len, of.values())) == 12
    assert metrics["test_samples"] == 40 and metrics["validation_samples"] == 20
    assert "t.csv: 12 groups, 2 to test, 1 to validation, 9 to train" in notes(capsys)
    other = place.run(dataset="table", path="t.csv", columns=columns, seed=1)[1]
    assert (other / "test.npz").read_bytes() != (out / "test.npz").read_bytes()
    place.table("t.csv", ("a", "y", "machine"), [(i, i % 2, "m") for i in range(9)])
    assert "has 1 groups, and each of train, test, validation needs one" in place.refused(
        dataset="table", path="t.csv", columns=columns
    )


def test_a_stated_split_may_not_share_a_group(place: Place) -> None:
    rows = [(i, i % 2, "m", ("train", "test")[i % 2]) for i in range(9)]
    place.table("t.csv", ("a", "y", "machine", "part"), rows)
    columns = {"x": "a", "y": "y", "group": "machine", "split": "part"}
    said = place.refused(dataset="table", path="t.csv", columns=columns)
    assert "group 'm' is in train and in test" in said


def test_windows_of_a_time_series_by_machine(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    # the rows of the machines alternate, as they were recorded
    rows = [(t, t * 10 + m, m, f"m{m}") for t in range(50) for m in range(6)]
    place.table("t.parquet", ("time", "value", "state", "machine"), rows)
    columns = {"x": ["time", "value"], "y": "state", "group": "machine"}
    metrics, out = place.run(
        dataset="table", path="t.parquet", columns=columns, window={"length": 8, "step": 4}, task={"name": "regression"}
    )
    arrays = read_arrays(out, "train")
    assert metrics["shape"] == [2, 8] and metrics["skipped"] == {"rows at the end of a series that fill no window": 12}
    assert (np.diff(arrays["x"][:, 0], axis=1) == 1).all() and (np.diff(arrays["x"][:, 1], axis=1) == 10).all()
    assert (arrays["x"][:, 1, 0] % 10 == arrays["y"].reshape(-1)).all()
    assert "12 of 300 rows are in no window of 8" in notes(capsys)
    said = place.refused(dataset="table", path="t.parquet", columns=columns, window={"length": 51})
    assert "has no 51 rows that follow each other in one group" in said


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([(1, 2)], {"x": "c"}, "t.csv has no column 'c' | known: a, b"),
        ([(1, ""), (2, 3)], {"x": "b"}, "column 'b' is empty in row 1 and no number in 1 rows"),
        ([(1, 2), ("x", 3)], {"x": "a"}, "column 'a' is 'x' in row 2 and no number in 1 rows"),
        ([(1, 2, 3)], {"x": "a"}, "t.csv:2 has 3 cells, and the first line 2"),
        ([], {"x": "a"}, "t.csv has no rows"),
        ([(1, " ")], {"x": "a", "y": "b"}, "column 'b' is empty in row 1"),
    ],
)
def test_a_table_that_does_not_fit(place: Place, rows: Any, columns: Any, said: str) -> None:
    place.table("t.csv", ("a", "b"), rows)
    assert said in place.refused(dataset="table", path="t.csv", columns=columns)


def test_what_is_no_table(place: Place) -> None:
    (place.root / "t.parquet").write_bytes(b"PAR1 nothing")
    (place.root / "t.xlsx").write_bytes(b"")
    (place.root / "t.csv").write_bytes(b"a,b\n\xff,1\n")
    columns = {"x": "a"}
    assert "t.parquet is no Parquet file" in place.refused(dataset="table", path="t.parquet", columns=columns)
    assert "t.xlsx is no table" in place.refused(dataset="table", path="t.xlsx", columns=columns)
    assert "t.csv cannot be read" in place.refused(dataset="table", path="t.csv", columns=columns)
    assert "there is no file u.csv" in place.refused(dataset="table", path="u.csv", columns=columns)


# recordings


def test_recordings_with_a_table_of_labels(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for number in range(24):
        name = f"{number % 3}/{number}.wav"
        rate = 16000 if number == 0 else 8000
        place.wav(f"sounds/{name}", 300 + 900 * (number % 2), rate, 0.6 if number == 1 else 0.4,
                  ("int16", "uint8", "float32")[number % 3])  # fmt: skip
        rows.append((name, ("low", "high")[number % 2], f"speaker{number % 8}"))
    place.wav("sounds/more.wav", 100)
    place.table("labels.csv", ("file", "word", "who"), rows)
    said = {"dataset": "wav_folder", "path": "sounds", "labels": "labels.csv",
            "columns": {"x": "file", "y": "word", "group": "who"}}  # fmt: skip
    audio = {"rate": 8000, "seconds": 0.5, "frame": 256, "hop": 128, "mels": 20}
    metrics, out = place.run(**said, audio=audio)
    assert metrics["shape"] == [1, 20, 30]
    contract = read_contract(out)
    assert contract.classes == ("high", "low")
    assert contract.front_end == {"name": "log_mel", "rate": 8000, "samples": 4000, "frame": 256, "hop": 128,
                                  "mels": 20, "lowest_hz": 20.0, "floor": 1e-6}  # fmt: skip
    assert "nothing in this folder does that" in preparation(contract)
    arrays = read_arrays(out, "train")
    loudest = arrays["x"][:, 0, :, :20].mean(axis=2).argmax(axis=1)
    assert set(loudest[arrays["y"] == 0]).isdisjoint(loudest[arrays["y"] == 1])
    told = notes(capsys)
    assert "1 of 24 recordings of another rate, resampled to 8000" in told and "1 of 24 recordings cut" in told
    assert "1 .wav files are not in labels.csv, and are left out" in told
    metrics, _ = place.run(**said, audio=audio | {"features": "mfcc"})
    assert metrics["shape"] == [1, 10, 30]
    metrics, _ = place.run(**said, audio={"rate": 8000, "seconds": 0.5, "features": "waveform"})
    assert metrics["shape"] == [1, 4000]
    (place.root / "sounds/0/0.wav").write_bytes(b"RIFF")
    assert "sounds/0/0.wav is no WAV file" in place.refused(**said, audio=audio)
    (place.root / "sounds/0/0.wav").unlink()
    assert "there is no file sounds/0/0.wav" in place.refused(**said, audio=audio)


def test_recordings_by_folder(place: Place) -> None:
    for number in range(20):
        place.wav(f"sounds/{('yes', 'no')[number % 2]}/{number}.wav", 200 + 500 * (number % 2))
    (place.root / "sounds/README.md").write_text("x")
    metrics, out = place.run(dataset="wav_folder", path="sounds", audio={"rate": 8000, "seconds": 0.5})
    assert read_contract(out).classes == ("no", "yes") and metrics["skipped"] == {"other files": 1}


def test_the_front_end_is_that_of_its_formula() -> None:
    """Against the definition, written out: one frame, one band, one coefficient at a time."""
    audio = Audio(rate=1000, seconds=0.2, features="mfcc", frame=64, hop=32, mels=6, coefficients=4)
    wave = RANDOM.standard_normal(150).astype(np.float32)
    found = wav_folder.features(wave, audio)
    assert found.shape == wav_folder.shape_of(audio) == (1, 4, 5)
    padded = np.concatenate([wave, np.zeros(50)])
    frame = padded[32:96] * np.array([0.5 - 0.5 * np.cos(2 * np.pi * n / 64) for n in range(64)])
    power = [abs(sum(frame[n] * np.exp(-2j * np.pi * k * n / 64) for n in range(64))) ** 2 / 64 for k in range(33)]
    mels = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 500 / 700), 8)
    edges = [700 * (10 ** (mel / 2595) - 1) for mel in mels]
    bands = []
    for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
        weights = [max(0, min((k * 1000 / 64 - low) / (peak - low), (high - k * 1000 / 64) / (high - peak)))
                   for k in range(33)]  # fmt: skip
        bands.append(np.log(np.dot(weights, power) + 1e-6))
    expected = [
        np.sqrt((1 if c == 0 else 2) / 6) * sum(b * np.cos(np.pi * c * (m + 0.5) / 6) for m, b in enumerate(bands))
        for c in range(4)
    ]
    assert np.allclose(found[0, :, 1], expected, rtol=1e-4, atol=1e-4)


# functions


@pytest.mark.parametrize("given", ["{'x': X, 'y': Y}", "X, Y", "Pairs()"])
def test_a_function_of_the_projects(place: Place, given: str, request: pytest.FixtureRequest, monkeypatch) -> None:
    module = f"samples_{abs(hash(request.node.name))}"
    (place.root / f"{module}.py").write_text(
        "import numpy as np\nX = np.arange(80, dtype=np.float32).reshape(40, 2)\nY = np.arange(40) % 2\n"
        "class Pairs:\n    def __len__(self): return 40\n    def __getitem__(self, n): return X[n], Y[n]\n"
        f"def read(): return {given}\ndef fails(path): raise OSError('no such thing')\ndef odd(): return 3\n"
    )
    monkeypatch.syspath_prepend(str(place.root))
    metrics, _ = place.run(dataset="python", function=f"{module}:read")
    assert metrics["shape"] == [2] and metrics["classes"] == 2
    said = place.refused(dataset="python", function=f"{module}:fails", path="x")
    assert f"{module}:fails fails: OSError: no such thing ({module}.py:8)" in said
    assert f"{module}:odd gives int | return a dict of arrays" in place.refused(
        dataset="python", function=f"{module}:odd"
    )


# params


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"dataset": "table", "path": "t.csv"}, "dataset table needs `columns`"),
        ({"dataset": "wav_folder", "path": "t"}, "dataset wav_folder needs `audio`"),
        ({"dataset": "python"}, "dataset python needs `function`"),
        ({"dataset": "npz", "path": "x", "masks": "m"}, "`masks` is for image_folder: drop it, or use image_folder"),
        ({"dataset": "digits", "window": {"length": 3}}, "`window` is for table: drop it, or use table"),
        ({"dataset": "wav_folder", "path": "t", "audio": {"rate": 800, "seconds": 9}, "labels": "l"}, "go together"),
        ({"dataset": "wav_folder", "path": "t", "audio": {"rate": 8, "seconds": 9}}, "frame 400 is longer than 9 sec"),
        ({"dataset": "python", "function": "nothing"}, "function must be 'module:function'"),
    ],
)
def test_params_that_do_not_go_together(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("'", ".").replace("`", ".")):
        DataParams(**params)
