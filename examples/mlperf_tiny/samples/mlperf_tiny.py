"""The data sets of MLPerf Tiny, as they lie when their archives are unpacked below a data root; read as they are used.

Image classification needs nothing here: it is Recast's own `cifar10`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import wavfile

SPEECH = "speech_commands_v0.02"
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown")
PEOPLE = "vw_coco2014_96"
MACHINE = "dev_data/ToyCar"
RATE = 16_000


class Lazy:
    """Samples that are read one at a time: `data` never holds them all."""

    def __init__(self, of: Sequence[Any], read: Callable[[Any], np.ndarray]) -> None:
        self._of, self._read = of, read

    def __len__(self) -> int:
        return len(self._of)

    def __getitem__(self, number: int) -> np.ndarray:
        return self._read(self._of[number])


def _folder(roots: Sequence[Path], name: str, archive: str) -> Path:
    found = next((root / name for root in roots if (root / name).is_dir()), None)
    if found is None:
        looked = ", ".join(map(str, roots)) or "none is set"
        raise FileNotFoundError(f"{name} is in no data root ({looked}); unpack {archive} there")
    return found


def _recording(file: Path) -> np.ndarray:
    rate, wave = wavfile.read(file)
    if rate != RATE or wave.dtype != np.int16 or wave.ndim != 1:
        raise ValueError(f"{file.name} is no recording of one channel, {RATE} samples a second, 16 bits")
    return wave


# keyword spotting


def keywords(roots: Sequence[Path]) -> dict[str, Any]:
    """Recordings of a second, int16; ten words, silence and every other word; the splits of its own lists.

    Other words are as many as a tenth of the ten, and so are seconds of silence, which are cut from the noises.
    """
    root = _folder(roots, SPEECH, "speech_commands_v0.02.tar.gz into a folder of that name")
    held = {
        name: set((root / f"{name}_list.txt").read_text(encoding="utf-8").split()) for name in ("validation", "testing")
    }
    files: dict[str, list[tuple[Path, int, str]]] = {"known": [], "unknown": []}
    for file in sorted(root.glob("[!_]*/*.wav")):
        name, word = file.relative_to(root).as_posix(), file.parent.name
        split = "validation" if name in held["validation"] else "test" if name in held["testing"] else "train"
        is_known = word in WORDS[:10]
        label = WORDS.index(word) if is_known else WORDS.index("unknown")
        files["known" if is_known else "unknown"].append((file, label, split))
    noises = [_recording(file) for file in sorted((root / "_background_noise_").glob("*.wav"))]
    random = np.random.default_rng(0)
    taken: list[tuple[Any, int, str]] = list(files["known"])
    for split in ("train", "validation", "test"):
        count = max(2, sum(one[2] == split for one in files["known"]) // 10)
        others = [one for one in files["unknown"] if one[2] == split]
        taken += [others[place] for place in random.permutation(len(others))[:count]]
        for _ in range(count):
            noise = noises[random.integers(len(noises))]
            start = random.integers(max(1, len(noise) - RATE))
            quiet = (noise[start : start + RATE] * random.uniform(0, 0.1)).astype(np.int16)
            taken.append((quiet, WORDS.index("silence"), split))
    of, y, split = zip(*taken, strict=True)
    x = Lazy(of, lambda one: _second(_recording(one) if isinstance(one, Path) else one))
    return {"x": x, "y": np.array(y), "split": np.array(split), "classes": np.array(WORDS)}


def _second(wave: np.ndarray) -> np.ndarray:
    return np.pad(wave[:RATE], (0, max(0, RATE - len(wave))))


# visual wake words


def people(roots: Sequence[Path]) -> dict[str, Any]:
    """uint8 (N, 96, 96, 3): whether somebody is in the picture."""
    root = _folder(roots, PEOPLE, f"{PEOPLE}.tar.gz")
    classes = ("non_person", "person")
    files = [(file, label) for label, name in enumerate(classes) for file in sorted((root / name).glob("*.jpg"))]
    return {
        "x": Lazy([file for file, _ in files], _pixels),
        "y": np.array([label for _, label in files]),
        "classes": np.array(classes),
    }


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


# anomaly detection

FRAMES, FRAME, HOP, MELS, FIRST, LAST = 5, 1024, 512, 128, 50, 250


def machines(roots: Sequence[Path]) -> dict[str, Any]:
    """Windows of log-mel energies, float32 (N, 640, 196), of recordings of toy cars; y: 1 for one that is broken."""
    root = _folder(roots, MACHINE, "dev_data_ToyCar.zip into dev_data/")
    train, test = (sorted((root / name).glob("*.wav")) for name in ("train", "test"))
    return {
        "x_train": Lazy(train, windows),
        "y_train": np.zeros(len(train), np.int64),
        "x_test": Lazy(test, windows),
        "y_test": np.array([int(file.name.startswith("anomaly")) for file in test]),
    }


def windows(file: Path) -> np.ndarray:
    """Frames 50 to 250 of a recording in decibels, five at a time: (640, 196)."""
    wave = _recording(file) / 2.0**15
    # frames are centred, as librosa does it
    wave = np.pad(wave, FRAME // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(wave, FRAME)[::HOP][FIRST:LAST]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    decibels = 10 * np.log10(power @ mel_bank() + np.finfo(np.float64).eps)
    count = len(decibels) - FRAMES + 1
    return np.concatenate([decibels[place : place + count].T for place in range(FRAMES)]).astype(np.float32)


def mel_bank() -> np.ndarray:
    """Triangles (513, 128) of one area each, evenly spaced on Slaney's scale of mel (Auditory Toolbox, 1998)."""
    linear, logarithmic = 200 / 3, np.log(6.4) / 27  # to 1 kHz, which is 15 mel, and beyond
    mels = np.linspace(0, 15 + np.log(RATE / 2 / 1000) / logarithmic, MELS + 2)
    edges = np.where(mels < 15, mels * linear, 1000 * np.exp(logarithmic * (mels - 15)))
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
