# environment: torch
from __future__ import annotations

import contextlib
import gzip
import hashlib
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from recast.stages.base import Inputs, Metrics, StageError
from recast.stages.common.dataset import read, read_contract, read_stored
from recast.stages.common.torch_models.torchvision_import import import_torchvision
from recast.stages.trunk.data import CHANNELS, STAGE, DataParams
from recast.stages.trunk.sources import cifar10_images, image_folder, npz_file, torchvision_files
from tests.lib.damage import damaged


def run(tmp_path: Path, params: dict[str, Any], roots: tuple[Path, ...] = ()) -> tuple[Metrics, Path]:
    number = len(list(tmp_path.glob("out*")))
    out, scratch = tmp_path / f"out{number}", tmp_path / f"scratch{number}"
    out.mkdir()
    scratch.mkdir()
    checked = DataParams(**params)
    files = {"path": tmp_path / checked.path} if checked.path else {}
    return STAGE.run(checked, Inputs({}, files, data_roots=roots, scratch=scratch), out), out


def own(tmp_path: Path, arrays: dict[str, Any], **params: Any) -> tuple[Metrics, Path]:
    np.savez(tmp_path / "own.npz", **arrays)
    return run(tmp_path, {"dataset": "npz", "path": "own.npz", "calibration_samples": 4} | params)


def samples(count: int = 40, classes: int = 4, shape: tuple[int, ...] = (3, 6, 6)) -> dict[str, Any]:
    x = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)
    return {"x": x, "y": np.arange(count) % classes}


def refused(tmp_path: Path, arrays: dict[str, Any], **params: Any) -> str:
    with pytest.raises(StageError) as caught:
        own(tmp_path, arrays, **params)
    assert caught.value.remedy
    return f"{caught.value.message} | {caught.value.remedy}"


# digits


def test_digits_in_the_size_asked_for(tmp_path: Path) -> None:
    metrics, out = run(tmp_path, {"dataset": "digits", "resize": 28, "mean": 0.5, "std": 0.5})
    counts = {"train_samples": 1294, "validation_samples": 144, "test_samples": 359, "calibration_samples": 512}
    assert counts.items() <= metrics.items() and metrics["shape"] == [1, 28, 28] and metrics["classes"] == 10
    contract = read_contract(out)
    assert contract.shape == (1, 28, 28) and contract.divisor == 255 and contract.stored_dtype == "uint8"
    stored, labels = read_stored(out, "train")
    assert stored.dtype == np.uint8 and labels.dtype == np.int64
    normalised, _ = read(out, "train")
    assert normalised.min() == -1 and normalised.max() == 1


def test_the_same_params_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (run(tmp_path, {"dataset": "digits"})[1] for _ in range(2))
    names = sorted(file.name for file in first.iterdir())
    assert names == ["calibration.npz", "input.json", "test.npz", "train.npz", "validation.npz"]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert str(tmp_path).encode() not in (first / name).read_bytes()
    other = run(tmp_path, {"dataset": "digits", "seed": 1})[1]
    assert (first / "train.npz").read_bytes() != (other / "train.npz").read_bytes()


def test_another_digits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recast.stages.trunk.data.KNOWN_SHA256", {"digits": "0" * 64})
    with pytest.raises(StageError, match="digits is not the dataset this pipeline knows: SHA-256 4762797d"):
        run(tmp_path, {"dataset": "digits"})


# splits


def test_splits_share_no_sample_and_keep_the_proportions_of_classes(tmp_path: Path) -> None:
    arrays = {"x": np.arange(400, dtype=np.float32).reshape(200, 2), "y": (np.arange(200) % 10 > 6).astype(int)}
    _, out = own(tmp_path, arrays, test_fraction=0.2, validation_fraction=0.25, calibration_samples=10)
    parts = {name: read_stored(out, name) for name in ("train", "validation", "test", "calibration")}
    assert [len(parts[name][0]) for name in parts] == [120, 40, 40, 10]
    for _, labels in parts.values():
        assert abs(labels.mean() - 0.3) < 0.5 / len(labels) ** 0.5 and 0 < labels.mean() < 1
    whole = np.concatenate([parts[name][0][:, 0] for name in ("train", "validation", "test")])
    assert sorted(whole.tolist()) == arrays["x"][:, 0].tolist()
    assert set(parts["calibration"][0][:, 0]) <= set(parts["train"][0][:, 0])
    rows = {row[0]: label for row, label in zip(arrays["x"].tolist(), arrays["y"].tolist(), strict=True)}
    for stored, labels in parts.values():
        assert [rows[row[0]] for row in stored.tolist()] == labels.tolist()


def test_an_own_test_split_is_kept_and_limits_apply(tmp_path: Path) -> None:
    train, test = samples(40), samples(20)
    arrays = {"x_train": train["x"], "y_train": train["y"], "x_test": test["x"], "y_test": test["y"]}
    metrics, out = own(tmp_path, arrays, validation_fraction=0)
    assert (metrics["train_samples"], metrics["test_samples"]) == (40, 20) and "validation_samples" not in metrics
    assert not (out / "validation.npz").exists()
    metrics, out = own(tmp_path, arrays, train_samples=16, test_samples=8, validation_fraction=0.25)
    assert [metrics[f"{name}_samples"] for name in ("train", "validation", "test")] == [12, 4, 8]
    assert np.bincount(read_stored(out, "test")[1]).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"calibration_samples": 99},
            "calibration_samples is 99, but there are 29 train samples | set data.calibration_samples",
        ),
        ({"train_samples": 99}, "train_samples is 99, but there are 32"),
        ({"test_samples": 99}, "test_samples is 99, but there are 8"),
        ({"validation_fraction": 0.001}, "validation_fraction 0.001 of 32 samples is 0"),
        ({"test_fraction": 0.999}, "test_fraction 0.999 of 40 samples is 40, which leaves 0 for train"),
        ({"train_samples": 3, "validation_fraction": 0}, "no train sample is left of class"),
        ({"mean": [0.1, 0.2]}, "mean has 2 values, but samples have 3 channels"),
    ],
)
def test_counts_that_do_not_fit_are_refused(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    assert message in refused(tmp_path, samples(), **params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dataset": "digits", "mean": [0.4, 0.5, 0.6]}, "has 3 values, but digits has 1 channel"),
        ({"dataset": "cifar10", "std": [0.4, 0.5]}, "has 2 values, but cifar10 has 3 channels"),
        (
            {"dataset": "cifar10", "grayscale": True, "mean": [1, 2, 3]},
            "has 3 values, but cifar10 in grey has 1 channel",
        ),
    ],
)
def test_values_per_channel_that_do_not_fit_a_known_dataset(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataParams(**params)


@pytest.mark.parametrize("dataset", CHANNELS)
def test_one_value_per_channel_fits_a_known_dataset(dataset: str) -> None:
    DataParams(dataset=dataset, mean=[0.5] * CHANNELS[dataset], std=[0.5])  # type: ignore[arg-type]


# npz


def test_npz_layouts_and_dtypes(tmp_path: Path) -> None:
    arrays = samples(shape=(6, 5, 3))
    metrics, out = own(tmp_path, arrays, layout="nhwc", mean=[0.1, 0.2, 0.3], std=[1, 1, 2])
    assert metrics["shape"] == [3, 6, 5] and read_contract(out).mean == (0.1, 0.2, 0.3)
    metrics, out = own(tmp_path, samples(shape=(6, 5)))
    assert metrics["shape"] == [1, 6, 5]
    metrics, out = own(tmp_path, {"x": samples(shape=(7,))["x"].astype(np.float64), "y": samples()["y"]})
    assert metrics["shape"] == [7] and read_stored(out, "train")[0].dtype == np.float32
    assert read_contract(out).divisor == 1


@pytest.mark.parametrize(("layout", "shape"), [("ncl", (2, 7)), ("nlc", (7, 2))])
def test_signals_keep_their_channels(tmp_path: Path, layout: str, shape: tuple[int, int]) -> None:
    arrays = samples(shape=shape)
    metrics, out = own(tmp_path, arrays, layout=layout, mean=[0.1, 0.2], std=[1, 2], validation_fraction=0)
    assert metrics["shape"] == [2, 7] and read_contract(out).std == (1, 2)
    stored, _ = read_stored(out, "train")
    given = arrays["x"] if layout == "ncl" else arrays["x"].transpose(0, 2, 1)
    assert sorted(one.tobytes() for one in given)[0] in {
        one.tobytes() for one in (*stored, *read_stored(out, "test")[0])
    }
    normalised, _ = read(out, "train")
    np.testing.assert_allclose(normalised[:, 1], (stored[:, 1] / 255 - 0.2) / 2, rtol=1e-5)


def test_signals_have_three_axes_and_are_no_images(tmp_path: Path) -> None:
    message = refused(tmp_path, samples(shape=(1, 2, 7)), layout="ncl")
    assert "x has shape (40, 1, 2, 7), and data.layout ncl is of signals | give (N, channels, length)" in message
    assert "samples of shape (2, 7) are not images" in refused(tmp_path, samples(shape=(2, 7)), layout="ncl", resize=5)


def test_grayscale_and_resize(tmp_path: Path) -> None:
    arrays = samples(shape=(3, 8, 8))
    _, out = own(tmp_path, arrays, grayscale=True, validation_fraction=0)
    grey, _ = read_stored(out, "train")
    colour, _ = read_stored(own(tmp_path, arrays, validation_fraction=0)[1], "train")
    pillow = np.asarray(Image.fromarray(colour[0].transpose(1, 2, 0)).convert("L"))
    assert grey.shape[1:] == (1, 8, 8) and (grey[0, 0] == pillow).all()
    metrics, out = own(tmp_path, arrays, resize=[4, 12])
    assert metrics["shape"] == [3, 4, 12] and read_stored(out, "test")[0].dtype == np.uint8
    floats = {"x": np.ones((40, 3, 8, 8), np.float32), "y": arrays["y"]}
    _, out = own(tmp_path, floats, resize=5, grayscale=True)
    np.testing.assert_allclose(read_stored(out, "train")[0], 1, rtol=1e-6)


def test_pixels_are_rounded_to_black_and_white(tmp_path: Path) -> None:
    arrays = samples(shape=(1, 8, 8))
    arrays["x"][:, 0, 0, :4] = (0, 127, 128, 255)
    stored, _ = read_stored(own(tmp_path, arrays, binarise=True, validation_fraction=0)[1], "train")
    assert stored.dtype == np.uint8 and set(np.unique(stored)) == {0, 255}
    assert (stored[:, 0, 0, :4] == (0, 0, 255, 255)).all()
    before, _ = read_stored(own(tmp_path, arrays, validation_fraction=0)[1], "train")
    # as rounding pixels that are scaled to 0..1 does
    assert (stored / 255 == np.round(before / 255)).all()
    floats = {"x": arrays["x"].astype(np.float32), "y": arrays["y"]}
    assert "samples of type float32 are not pixels" in refused(tmp_path, floats, binarise=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros(3), "b": np.zeros(3)}, "own.npz holds a, b | name the arrays x and y"),
        ({"x": np.array([[1], "two"], object), "y": np.zeros(2, int)}, "x is an object array, which is a pickle"),
        (samples() | {"x": np.zeros((0, 3, 2, 2), np.uint8)}, "x is empty, shape (0, 3, 2, 2)"),
        (samples() | {"x": np.zeros((), np.uint8)}, "x has shape () | give (N, features)"),
        (samples() | {"x": np.zeros((40, 1, 2, 2, 2, 2), np.uint8)}, "x has shape (40, 1, 2, 2, 2, 2)"),
        (samples() | {"x": np.full((40, 2), "a")}, "x has dtype <U1 | save it as uint8 (0 to 255) or float32"),
        (samples() | {"y": np.zeros(40)}, "y has dtype float64 and shape (40,)"),
        (samples() | {"y": np.zeros((40, 1), int)}, "y has dtype int64 and shape (40, 1)"),
        (samples() | {"y": np.zeros(39, int)}, "x has 40 samples, y 39 labels"),
        (samples() | {"y": np.zeros(40, int)}, "y holds only class 0"),
        (samples() | {"y": np.arange(40) % 2 * 5}, "y holds the labels 0, 5; classes must be 0 to K-1"),
        (samples() | {"y": np.arange(40) % 3 - 1}, "y holds the labels -1, 0, 1;"),
        (samples() | {"x": np.where(np.eye(40, 2, -3) > 0, np.nan, 0)}, "NaN or infinity, first in sample 3"),
        ({"x_train": np.zeros((4, 2)), "y_train": np.arange(4), "x_test": np.zeros((4, 3)), "y_test": np.arange(4)},
         "x_train holds float32 of shape (2,), x_test float32 of (3,)"),
        ({"x_train": np.zeros((4, 2)), "y_train": np.arange(4), "x_test": np.zeros((4, 2)), "y_test": np.arange(4) + 1},
         "y_test holds class 4, which y_train lacks"),
    ],
)  # fmt: skip
def test_an_unfit_npz_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    assert message in refused(tmp_path, arrays)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_read_or_refused(tmp_path: Path, save: Any) -> None:
    """zipfile and zlib raise errors of their own, and NotImplementedError."""
    path = tmp_path / "own.npz"
    save(path, **samples())
    refusals = 0
    for content in damaged(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            npz_file.read(path, path.name, "nchw")
        except StageError:
            refusals += 1
    assert refusals > 100


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP"])
def test_a_damaged_image_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image"
    Image.fromarray(samples(1, 1, (9, 8, 3))["x"][0]).save(path, kind)
    for content in damaged(path.read_bytes(), 100):
        path.write_bytes(content)
        with contextlib.suppress(StageError):
            image_folder.read_pixels(path, path.name)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    params = {"dataset": "npz", "path": "own.npz"}
    with pytest.raises(StageError, match=r"there is no file own\.npz"):
        run(tmp_path, params)
    (tmp_path / "own.npz").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(StageError, match=r"own\.npz is not an npz, or is damaged"):
        run(tmp_path, params)
    with (tmp_path / "own.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(StageError, match="one bare array"):
        run(tmp_path, params)
    np.savez(tmp_path / "own.npz", **samples())
    whole = (tmp_path / "own.npz").read_bytes()
    (tmp_path / "own.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StageError, match="damaged"):
        run(tmp_path, params)


def test_features_are_no_images(tmp_path: Path) -> None:
    assert "samples of shape (7,) are not images" in refused(tmp_path, samples(shape=(7,)), resize=4)
    assert "cannot turn images of 2 channels grey" in refused(tmp_path, samples(shape=(2, 4, 4)), grayscale=True)


# params


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dataset": "npz"}, "dataset npz needs a `path`"),
        ({"dataset": "image_folder"}, "dataset image_folder needs a `path`"),
        ({"dataset": "mnist", "path": "x"}, "dataset mnist takes no `path`"),
        ({"dataset": "mnist", "layout": "nhwc"}, "`layout` is for npz"),
        ({"dataset": "mnist", "std": 0}, "must be above 0"),
        ({"dataset": "mnist", "std": [1, 0]}, "must be above 0"),
        ({"dataset": "mnist", "mean": float("nan")}, "finite"),
        ({"dataset": "mnist", "resize": 0}, "greater than 0"),
        ({"dataset": "mnst"}, "Input should be 'digits'"),
        ({"dataset": "digits", "sample": 3}, "Extra inputs are not permitted"),
    ],
)
def test_params_that_cannot_be_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataParams(**params)


# image_folder


def write_images(folder: Path, classes: tuple[str, ...], count: int, mode: str = "RGB", size: int = 8) -> None:
    stream = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            shape = (size, size, 3) if mode == "RGB" else (size, size)
            Image.fromarray(stream.integers(0, 256, shape).astype(np.uint8)).save(folder / name / f"{number}.png")


def folder(tmp_path: Path, **params: Any) -> tuple[Metrics, Path]:
    return run(tmp_path, {"dataset": "image_folder", "path": "pets", "calibration_samples": 4} | params)


def test_a_folder_per_class(tmp_path: Path) -> None:
    write_images(tmp_path / "pets", ("dog", "cat"), 10)
    metrics, out = folder(tmp_path, validation_fraction=0)
    assert metrics["shape"] == [3, 8, 8] and read_contract(out).classes == ("cat", "dog")
    assert (metrics["train_samples"], metrics["test_samples"]) == (16, 4)
    stored, labels = read_stored(out, "test")
    originals = [np.asarray(Image.open(file)).transpose(2, 0, 1) for file in sorted((tmp_path / "pets/dog").iterdir())]
    assert any((stored[labels == 1][0] == original).all() for original in originals)
    assert set(labels[:4]) == {0, 1}


def test_train_and_test_folders_with_grey_and_colour(tmp_path: Path) -> None:
    write_images(tmp_path / "pets/train", ("cat", "dog"), 6, mode="L")
    write_images(tmp_path / "pets/test", ("cat", "dog"), 3, mode="L")
    assert folder(tmp_path, validation_fraction=0)[0]["shape"] == [1, 8, 8]
    Image.new("RGBA", (8, 8), "red").save(tmp_path / "pets/test/cat/red.png")
    metrics, _ = folder(tmp_path, validation_fraction=0)
    assert metrics["shape"] == [3, 8, 8] and metrics["test_samples"] == 7


def test_images_of_several_sizes_need_resize(tmp_path: Path) -> None:
    write_images(tmp_path / "pets", ("cat", "dog"), 10)
    Image.new("RGB", (9, 7)).save(tmp_path / "pets/dog/wide.png")
    with pytest.raises(StageError, match=r"cat/0.png is 8x8 pixels, dog/wide.png 7x9") as caught:
        folder(tmp_path)
    assert "data.resize" in caught.value.remedy
    assert folder(tmp_path, resize=4)[0]["shape"] == [3, 4, 4]


def test_unfit_folders_are_refused(tmp_path: Path) -> None:
    pets = tmp_path / "pets"
    with pytest.raises(StageError, match="there is no folder pets"):
        folder(tmp_path)
    pets.mkdir()
    with pytest.raises(StageError, match="pets holds no class folders"):
        folder(tmp_path)
    write_images(pets, ("cat",), 10)
    with pytest.raises(StageError, match="pets holds only the class folder cat/"):
        folder(tmp_path)
    (pets / "dog").mkdir()
    with pytest.raises(StageError, match="pets/dog holds no images"):
        folder(tmp_path)
    (pets / "dog/torn.png").write_bytes((pets / "cat/0.png").read_bytes()[:60])
    with pytest.raises(StageError, match=r"cannot read the image pets/dog/torn\.png"):
        folder(tmp_path)
    (pets / "dog/torn.png").unlink()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(pets / "dog/deep.png")
    with pytest.raises(StageError, match=r"pets/dog/deep\.png has Pillow's mode I;16, not 8 bits"):
        folder(tmp_path)


def test_unfit_train_and_test_folders_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "pets/train", ("cat", "dog"), 4)
    write_images(tmp_path / "pets/test", ("cat",), 4)
    with pytest.raises(StageError, match="class dog is in only one of train/ and test/"):
        folder(tmp_path)
    (tmp_path / "pets/holdout").mkdir()
    with pytest.raises(StageError, match="pets holds holdout/ beside train/ and test/"):
        folder(tmp_path)


# mnist, fashion_mnist, cifar10: small stand-ins in torchvision's own formats, and MNIST itself where it is at hand


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with 50 train and 20 test images in MNIST's format, packed, whose MD5s are the expected ones."""
    raw = tmp_path / "root/MNIST/raw"
    raw.mkdir(parents=True)
    stream = np.random.default_rng(0)
    known = {}
    for prefix, count in (("train", 50), ("t10k", 20)):
        parts = {"images-idx3": stream.integers(0, 256, (count, 28, 28)), "labels-idx1": np.arange(count) % 10}
        for part, array in parts.items():
            content = idx(array)
            known[f"{prefix}-{part}-ubyte"] = hashlib.md5(content).hexdigest()
            (raw / f"{prefix}-{part}-ubyte.gz").write_bytes(gzip.compress(content))
    monkeypatch.setitem(torchvision_files.CONTENT_MD5, "mnist", known)
    monkeypatch.setattr("recast.stages.trunk.data.KNOWN_SHA256", {})
    return tmp_path / "root"


MNIST = {"dataset": "mnist", "calibration_samples": 8}


def test_packed_mnist_is_read_from_a_root_that_cannot_be_written(tmp_path: Path, small_mnist: Path) -> None:
    before = sorted(small_mnist.rglob("*"))
    for folder_ in (small_mnist, small_mnist / "MNIST", small_mnist / "MNIST/raw"):
        folder_.chmod(0o555)
    metrics, out = run(tmp_path, MNIST, (tmp_path / "absent", small_mnist))
    assert metrics["shape"] == [1, 28, 28] and metrics["test_samples"] == 20 and metrics["train_samples"] == 45
    assert read_contract(out).classes[3] == "3 - three"
    assert sorted(small_mnist.rglob("*")) == before and not (tmp_path / "absent").exists()


def test_unpacked_mnist_is_read_too(tmp_path: Path, small_mnist: Path) -> None:
    packed, _ = run(tmp_path, MNIST, (small_mnist,))
    for archive in (small_mnist / "MNIST/raw").glob("*.gz"):
        archive.with_suffix("").write_bytes(gzip.decompress(archive.read_bytes()))
        archive.unlink()
    unpacked, _ = run(tmp_path, MNIST, (small_mnist,))
    assert packed == unpacked


@pytest.mark.parametrize("damage", ["torn", "other"])
def test_damaged_mnist_is_refused(tmp_path: Path, small_mnist: Path, damage: str) -> None:
    images = small_mnist / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    content = images.read_bytes()
    images.write_bytes(content[:-100] if damage == "torn" else gzip.compress(b"something else"))
    with pytest.raises(StageError, match=r"t10k-images-idx3-ubyte\.gz is damaged") as caught:
        run(tmp_path, MNIST, (small_mnist,))
    assert "delete it" in caught.value.remedy


def test_no_root_and_a_failed_download_say_where_to_put_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StageError, match="nowhere to look for mnist"):
        run(tmp_path, MNIST)
    datasets = import_torchvision("datasets")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Error downloading x.gz:\nTried http://a, got:\nno network")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    root = tmp_path / "made/when/needed"
    with pytest.raises(StageError) as caught:
        run(tmp_path, MNIST, (root, tmp_path / "second"))
    assert str(root) in caught.value.message and str(tmp_path / "second") in caught.value.message
    assert "no network" in caught.value.message
    assert "put MNIST/raw/train-images-idx3-ubyte.gz" in caught.value.remedy


def test_a_download_is_kept_in_the_first_root(
    tmp_path: Path, small_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = import_torchvision("datasets")

    def fetch(dataset: Any) -> None:
        raw = Path(dataset.raw_folder)
        raw.mkdir(parents=True, exist_ok=True)
        for archive in (small_mnist / "MNIST/raw").iterdir():
            (raw / archive.name).write_bytes(archive.read_bytes())
            (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))

    monkeypatch.setattr(datasets.MNIST, "download", fetch)
    root = tmp_path / "made/when/needed"
    first, _ = run(tmp_path, MNIST, (root,))
    kept = sorted(file.name for file in (root / "MNIST/raw").iterdir())
    assert len(kept) == 4 and all(name.endswith("ubyte.gz") for name in kept)
    monkeypatch.setattr(datasets.MNIST, "download", None)
    assert run(tmp_path, MNIST, (root,))[0] == first


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with 20 train and 10 test images in CIFAR-10's format, as an archive."""
    kind = import_torchvision("datasets").CIFAR10
    folder_ = tmp_path / "unpacked" / kind.base_folder
    folder_.mkdir(parents=True)
    sums = {}
    contents: dict[str, Any] = {"batches.meta": {"label_names": [f"class {label}" for label in range(10)]}}
    for name, count in (("data_batch_1", 20), ("test_batch", 10)):
        pixels = np.arange(count * 3072).reshape(count, 3072).astype(np.uint8)
        contents[name] = {"data": pixels, "labels": [label % 10 for label in range(count)]}
    for name, content in contents.items():
        (folder_ / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder_ / name).read_bytes()).hexdigest()
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums["batches.meta"]})
    (tmp_path / "root").mkdir()
    with tarfile.open(tmp_path / "root" / kind.filename, "w:gz") as tar:
        tar.add(folder_, kind.base_folder)
    return tmp_path / "root"


CIFAR10 = {"dataset": "cifar10", "calibration_samples": 4, "validation_fraction": 0}


def test_cifar10_from_its_archive_and_unpacked(tmp_path: Path, small_cifar10: Path) -> None:
    metrics, out = run(tmp_path, CIFAR10, (small_cifar10,))
    assert metrics["shape"] == [3, 32, 32] and metrics["train_samples"] == 20 and metrics["test_samples"] == 10
    assert run(tmp_path, CIFAR10, (tmp_path / "unpacked",))[0] == metrics
    first = np.arange(3072).astype(np.uint8).reshape(3, 32, 32)
    assert any((image == first).all() for image in read_stored(out, "train")[0])


def test_damaged_cifar10_is_refused_before_its_pickles_are_loaded(tmp_path: Path, small_cifar10: Path) -> None:
    bomb = tmp_path / "unpacked/cifar-10-batches-py/data_batch_1"
    bomb.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(StageError, match="cifar10 is damaged"):
        run(tmp_path, CIFAR10, (tmp_path / "unpacked",))
    assert not (tmp_path / "ran").exists()
    (small_cifar10 / "cifar-10-python.tar.gz").write_bytes(b"torn")
    with pytest.raises(StageError, match=r"cifar-10-python\.tar\.gz is damaged"):
        run(tmp_path, CIFAR10, (small_cifar10,))


def test_mnist_itself_is_the_one_this_pipeline_knows(tmp_path: Path) -> None:
    repository = Path(__file__).resolve().parents[3]
    roots = tuple(
        root for root in (repository / "downloads", repository.parent / "shared/data") if (root / "MNIST/raw").is_dir()
    )
    if not roots:
        pytest.skip("MNIST is not at hand")
    metrics, out = run(tmp_path, MNIST | {"train_samples": 500, "test_samples": 100}, roots)
    assert metrics["sha256"].startswith("11de40ec") and metrics["train_samples"] == 450
    assert read_stored(out, "test")[0].shape == (100, 1, 28, 28)


# cifar10_images


def write_cifar10_images(root: Path) -> None:
    folder_ = root / cifar10_images.FOLDER
    folder_.mkdir(parents=True)
    stream = np.random.default_rng(0)
    for name in cifar10_images.CLASSES:
        for number in range(1, 11):
            Image.fromarray(stream.integers(0, 256, (32, 32, 3), np.uint8)).save(folder_ / f"{name}{number}.png")


def test_a_hundred_images_are_read_from_a_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10_images(tmp_path / "root")
    params = {"dataset": "cifar10_images", "test_fraction": 0.5, "validation_fraction": 0}
    with pytest.raises(StageError, match="cifar10_images is not the dataset this pipeline knows"):
        run(tmp_path, params, (tmp_path / "root",))
    monkeypatch.setattr("recast.stages.trunk.data.KNOWN_SHA256", {})
    metrics, out = run(tmp_path, params, (tmp_path / "absent", tmp_path / "root"))
    assert metrics["shape"] == [3, 32, 32] and metrics["test_samples"] == metrics["train_samples"] == 50
    assert read_contract(out).classes == cifar10_images.CLASSES
    assert np.bincount(read_stored(out, "test")[1]).tolist() == [5] * 10


def test_images_that_are_missing_or_of_another_size_are_refused(tmp_path: Path) -> None:
    params = {"dataset": "cifar10_images"}
    with pytest.raises(StageError, match="cifar10_images is in no data root"):
        run(tmp_path, params, (tmp_path,))
    write_cifar10_images(tmp_path)
    horse = tmp_path / cifar10_images.FOLDER / "horse5.png"
    Image.new("RGB", (31, 32)).save(horse)
    with pytest.raises(StageError, match=r"horse5\.png is no RGB image of 32x32 pixels"):
        run(tmp_path, params, (tmp_path,))
    horse.unlink()
    with pytest.raises(StageError, match=r"horse5\.png is missing"):
        run(tmp_path, params, (tmp_path,))
