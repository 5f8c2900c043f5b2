"""A folder of WAV files of one's own, and the front end that makes samples of recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError, note
from recast.stages.trunk.own_data import Audio, Columns
from recast.stages.trunk.sources import Source, spilled, table

_LOWEST_HZ = 20.0
_QUIET = 1e-6
"""added to the energy of a band before its logarithm is taken: silence is -13.8"""


def read(
    path: Path, shown: str, audio: Audio, labels: tuple[Path, str] | None, columns: Columns | None, scratch: Path
) -> Source:
    """Recordings as float32 (N, 1, length), or features (N, 1, bands, frames).

    With `labels`, a table and how it is called, `columns` say which of its columns holds the file, relative to the
    folder, and which the label. Else every folder in `path` is a class. StageError for a file that is absent or no WAV.
    """
    if not path.is_dir():
        raise StageError(f"there is no folder {shown}", "create it, or mend data.path")
    y: NDArray[Any] | None
    if labels is None or columns is None:
        files, y, classes, skipped = _by_folder(path, shown)
        split = groups = None
    else:
        files, y, classes, split, groups = _by_table(path, shown, *labels, columns)
        skipped = {}
    odd = cut = 0

    def sample(number: int) -> NDArray[np.float32]:
        nonlocal odd, cut
        file = files[number]
        wave, rate = _recording(file, f"{shown}/{file.relative_to(path).as_posix()}")
        if rate != audio.rate:
            odd, wave = odd + 1, resampled(wave, rate, audio.rate)
        cut += len(wave) > audio.length
        return features(wave, audio)

    x = spilled.stacked(len(files), sample, scratch / "recordings.npy", shown)
    for count, what in ((odd, f"recordings of another rate, resampled to {audio.rate}"), (cut, "recordings cut")):
        if count:
            note(f"{shown}: {count} of {len(files)} {what}")
    return Source(x, y, None, None, classes, split, groups, front_end(audio), skipped)


def front_end(audio: Audio) -> dict[str, Any]:
    """For the contract: what a client must do to a recording before it can be normalised."""
    said: dict[str, Any] = {"name": audio.features, "rate": audio.rate, "samples": audio.length}
    if audio.features != "waveform":
        said |= {"frame": audio.frame, "hop": audio.hop, "mels": audio.mels, "lowest_hz": _LOWEST_HZ, "floor": _QUIET}
    return said | ({"coefficients": audio.coefficients} if audio.features == "mfcc" else {})


def shape_of(audio: Audio) -> tuple[int, ...]:
    """Of a sample."""
    if audio.features == "waveform":
        return 1, audio.length
    bands = audio.mels if audio.features == "log_mel" else audio.coefficients
    return 1, bands, 1 + (audio.length - audio.frame) // audio.hop


def features(wave: NDArray[np.float32], audio: Audio) -> NDArray[np.float32]:
    """A recording (n,) between -1 and 1 at the rate of `audio`, cut or with silence behind it -> what `shape_of` says.

    log_mel: ln(E + 1e-6), E the energy in mel bands (HTK: mel = 2595 log10(1 + f/700)) of the power spectrum of frames
    under a periodic Hann window, none padded. mfcc: the orthonormal DCT-II of those, from coefficient 0 on.
    """
    from scipy import fft

    full = np.zeros(audio.length, np.float64)
    full[: min(len(wave), audio.length)] = wave[: audio.length]
    if audio.features == "waveform":
        return full.astype(np.float32)[None]
    frames = np.lib.stride_tricks.sliding_window_view(full, audio.frame)[:: audio.hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(audio.frame) / audio.frame)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 / audio.frame
    bands = np.log(power @ mel_bank(audio) + _QUIET).T
    if audio.features == "mfcc":
        bands = fft.dct(bands, type=2, axis=0, norm="ortho")[: audio.coefficients]
    return bands.astype(np.float32)[None]


def mel_bank(audio: Audio) -> NDArray[np.float64]:
    """Triangles (bins, mels), evenly spaced in mel, each with its peak at 1."""
    highest = audio.rate / 2
    edges = 700 * (10 ** (np.linspace(_mel(_LOWEST_HZ), _mel(highest), audio.mels + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(audio.frame, 1 / audio.rate)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    found: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return found


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """The recording at another rate, by a polyphase filter."""
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    found: NDArray[np.float32] = resample_poly(wave, wanted // common, rate // common).astype(np.float32)
    return found


def _recording(file: Path, shown: str) -> tuple[NDArray[np.float32], int]:
    """One channel, the mean of all, between -1 and 1; and the rate."""
    import warnings

    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # parts of the file that say nothing of the sound
            rate, samples = wavfile.read(file)
    except FileNotFoundError as error:
        raise StageError(f"there is no file {shown}", "put it there, or drop its row from the labels") from error
    # damage shows in whatever the reader stumbles over
    except Exception as error:
        raise StageError(f"{shown} is no WAV file, or is damaged", "replace or remove it") from error
    if not len(samples):
        raise StageError(f"{shown} holds no sound", "replace or remove it")
    wave = _scaled(samples)
    if not np.isfinite(wave).all():
        raise StageError(f"{shown} holds NaN or infinity", "replace or remove it")
    return wave, int(rate)


def _scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Whole numbers, or floats as they are, of one channel or several: between -1 and 1, the mean of all channels."""
    wave: NDArray[Any]
    if samples.dtype == np.uint8:
        wave = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        wave = samples.astype(np.float64) / -float(np.iinfo(samples.dtype).min)
    else:
        wave = samples
    return (wave.mean(axis=1) if wave.ndim > 1 else wave).astype(np.float32)


def features_of(recording: Any, audio: Audio, what: str) -> NDArray[np.float32]:
    """`features` of a recording (n,), whole numbers or floats between -1 and 1, at the rate of `audio`.

    StageError, which calls it a sample of `what`, for anything else.
    """
    samples = np.asarray(recording)
    if samples.ndim != 1 or not len(samples) or samples.dtype.kind not in "iuf":
        raise StageError(
            f"{what}: a sample is {samples.dtype} of shape {samples.shape}, and data.audio takes recordings",
            "give each as numbers (n,)",
            "drop data.audio",
        )
    wave = _scaled(samples)
    if not np.isfinite(wave).all():
        raise StageError(f"{what}: a recording holds NaN or infinity", "mend or drop it")
    return features(wave, audio)


def _by_folder(path: Path, shown: str) -> tuple[list[Path], NDArray[Any], tuple[str, ...], dict[str, int]]:
    classes = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] not in "._")
    if len(classes) < 2:
        raise StageError(
            f"{shown} holds {len(classes)} folders of recordings",
            "give one for each class",
            "name the table of their labels: data.labels and data.columns",
        )
    found = [_wavs(path / name) for name in classes]
    for name, files in zip(classes, found, strict=True):
        if not files:
            raise StageError(f"{shown}/{name} holds no .wav files", "add some, or remove the folder")
    others = sum(file.is_file() for file in path.rglob("*")) - sum(map(len, found))
    if others:
        note(f"{shown}: {others} files are no .wav files of a class, and are left out")
    y = np.repeat(np.arange(len(classes)), [len(files) for files in found])
    return [file for files in found for file in files], y, tuple(classes), {"other files": others} if others else {}


def _wavs(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() == ".wav" and file.name[0] != ".")


def _by_table(
    path: Path, shown: str, labels: Path, labels_shown: str, columns: Columns
) -> tuple[list[Path], NDArray[Any] | None, tuple[str, ...], Any, Any]:
    if not isinstance(columns.x, str) or isinstance(columns.y, list):
        raise StageError("wav_folder takes one column of files and one of labels", "name one each in data.columns")
    wanted = [name for name in (columns.x, columns.y, columns.split, columns.group) if name]
    found = table.columns_of(labels, labels_shown, wanted)
    names = [str(name) for name in found[columns.x].tolist()]
    files = [path / name for name in names]
    for name, file in zip(names, files, strict=True):
        if not file.resolve().is_relative_to(path.resolve()):
            raise StageError(f"{labels_shown} names '{name}', which is not in {shown}", "write it relative to that")
    y, classes = table.labels_of(found[columns.y], columns.y, labels_shown) if columns.y else (None, ())
    split = table.split_of(found[columns.split], columns.split, labels_shown) if columns.split else None
    groups = found[columns.group].astype(str) if columns.group else None
    listed = {file.resolve() for file in files}
    unlisted = sum(file.resolve() not in listed for file in _wavs(path))
    if unlisted:
        note(f"{shown}: {unlisted} .wav files are not in {labels_shown}, and are left out")
    return files, y, classes, split, groups
