"""The data sets of MLPerf Tiny in the layout of their archives, small and made up: tones, blobs and hums."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import wavfile

RATE = 16_000
KNOWN = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
OTHERS = ("bed", "cat", "house")


def speech(root: Path, each: int = 12) -> None:
    """speech_commands_v0.02/: a folder for each word, noises, and the lists of its validation and test recordings."""
    random, folder = np.random.default_rng(0), root / "speech_commands_v0.02"
    lists: dict[str, list[str]] = {"validation": [], "testing": []}
    for place, word in enumerate((*KNOWN, *OTHERS)):
        (folder / word).mkdir(parents=True)
        hertz = 250 * 1.25**place
        for number in range(each):
            name = f"{word}/{number:08x}_nohash_0.wav"
            # some are shorter than a second, as those of the data set are
            time = np.arange(RATE if number % 4 else RATE - 3000) / RATE
            wave = np.sin(2 * np.pi * hertz * random.uniform(0.98, 1.02) * time) * np.hanning(len(time))
            wav(folder / name, 0.5 * wave + random.normal(0, 0.01, len(time)))
            if number < 5:
                lists["validation" if number < 2 else "testing"].append(name)
    (folder / "_background_noise_").mkdir()
    wav(folder / "_background_noise_/white_noise.wav", random.normal(0, 0.3, 4 * RATE))
    for split, names in lists.items():
        (folder / f"{split}_list.txt").write_text("".join(f"{name}\n" for name in names))


def people(root: Path, each: int = 40) -> None:
    """vw_coco2014_96/: JPEG files of 96x96 pixels in person/ and non_person/."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :96]
    for name in ("person", "non_person"):
        folder = root / "vw_coco2014_96" / name
        folder.mkdir(parents=True)
        for number in range(each):
            pixels = random.normal(90, 25, (96, 96, 3))
            if name == "person":
                row, column = random.integers(35, 60, 2)
                pixels[((rows - row) / 30) ** 2 + ((columns - column) / 14) ** 2 < 1] += (110, 70, 40)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"COCO_train2014_{number:012}.jpg")


def machines(root: Path, train: int = 24, each: int = 8) -> None:
    """dev_data/ToyCar/: train/ of normal recordings of ten seconds, test/ of normal ones and anomalies."""
    random = np.random.default_rng(0)
    time = np.arange(10 * RATE) / RATE
    for folder, kind, count in (("train", "normal", train), ("test", "normal", each), ("test", "anomaly", each)):
        (root / "dev_data/ToyCar" / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            hum = sum(np.sin(2 * np.pi * 180 * n * time + random.uniform(0, 6)) / n for n in range(1, 8))
            wave = 0.05 * hum + random.normal(0, 0.02, len(time))
            if kind == "anomaly":
                wave += 0.05 * np.sin(2 * np.pi * 3100 * time) * (np.sin(2 * np.pi * 3 * time) > 0.5)
            wav(root / f"dev_data/ToyCar/{folder}/{kind}_id_0{1 + number % 4}_{number:08}.wav", wave)


def images(root: Path, each: int = 20) -> None:
    """cifar-10-batches-py/: five batches and a test batch, as its archive has them, of other images."""
    random, folder = np.random.default_rng(0), root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        data = random.integers(0, 256, (each, 3072)).astype(np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [n % 10 for n in range(each)]}))
    labels = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": labels}))


def wav(path: Path, wave: np.ndarray) -> None:
    """A recording (n,) between -1 and 1, 16 bits."""
    wavfile.write(path, RATE, (wave.clip(-1, 1) * 32767).astype(np.int16))


COLOURS = '''\
"""Images of one colour each, in the shape of those of CIFAR-10."""

import numpy as np


def draw() -> dict[str, np.ndarray]:
    """x uint8 (200, 3, 32, 32) and y (200,)."""
    random = np.random.default_rng(0)
    y = np.arange(200) % 10
    colours = np.array([[y & 1, (y >> 1) & 1, (y >> 2) & 3]]) * 60 + 40
    x = colours[0].T[:, :, None, None] + random.normal(0, 10, (200, 3, 32, 32))
    return {"x": x.clip(0, 255).astype(np.uint8), "y": y}
'''
"""in place of CIFAR-10, whose files are known by their sums"""
QUICK = {
    "mlperf_kws": "{train: {resources: {cpu: 1}, epochs: 12, batch_size: 8, lr: 3.0e-3}}",
    "mlperf_vww": "{data: {test_fraction: 0.3}, train: {resources: {cpu: 1}, epochs: 25, batch_size: 8, lr: 3.0e-3}}",
    "mlperf_ic": "{data: {dataset: python, function: 'samples.colours:draw'}, "
    "train: {resources: {cpu: 1}, epochs: 8, batch_size: 16}}",
    "mlperf_ad": "{train: {resources: {cpu: 1}, epochs: 6}}",
}
"""recipe -> stages of one that extends it, for data as small as this"""
