"""An npz of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.base import StageError
from stages.sources import Source

SIGNALS = {"ncl": "(N, channels, length)", "nlc": "(N, length, channels)"}


def read(path: Path, shown: str, layout: str) -> Source:
    """Arrays of one's own: x and y, or x_train, y_train, x_test and y_test.

    x is uint8 or a float, (N, F), (N, H, W) for images of one channel, or (N, C, H, W), with the
    channels last if `layout` is nhwc; of layout ncl or nlc it holds signals, (N, C, L) or (N, L, C).
    y is one integer per sample, the classes 0..K-1. StageError for everything else; a pickle is
    never loaded.
    """
    arrays = _npz_arrays(path, shown)
    own_test = {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys()
    if not own_test and not {"x", "y"} <= arrays.keys():
        raise StageError(
            f"{shown} holds {', '.join(sorted(arrays)) or 'no arrays'}",
            "name the arrays x and y, or x_train, y_train, x_test and y_test",
        )
    x_name, y_name = ("x_train", "y_train") if own_test else ("x", "y")
    x, y = _checked(arrays, x_name, y_name, shown, layout)
    labels = np.unique(y)
    if len(labels) < 2:
        raise StageError(f"{shown}: {y_name} holds only class {labels[0]}", "give samples of at least two classes")
    if labels[0] < 0 or labels[-1] != len(labels) - 1:
        few = ", ".join(str(label) for label in labels[:8]) + (", ..." if len(labels) > 8 else "")
        raise StageError(
            f"{shown}: {y_name} holds the labels {few}; classes must be 0 to K-1 with none missing",
            "renumber them: np.unique(y, return_inverse=True)[1]",
        )
    classes = tuple(str(label) for label in labels)
    if not own_test:
        return Source(x, y, None, None, classes)
    x_test, y_test = _checked(arrays, "x_test", "y_test", shown, layout)
    if x_test.shape[1:] != x.shape[1:] or x_test.dtype != x.dtype:
        raise StageError(
            f"{shown}: x_train holds {x.dtype} of shape {x.shape[1:]}, x_test {x_test.dtype} of {x_test.shape[1:]}",
            "save both alike",
        )
    strange = sorted(set(np.unique(y_test).tolist()) - set(labels.tolist()))
    if strange:
        raise StageError(f"{shown}: y_test holds class {strange[0]}, which y_train lacks", "give train samples of it")
    return Source(x, y, x_test, y_test, classes)


def _npz_arrays(path: Path, shown: str) -> dict[str, NDArray[Any]]:
    save_again = "save it with np.savez(path, x=..., y=...)"
    try:
        # allow_pickle stays off: an npz may not run code
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise StageError(f"{shown} is one bare array, not an npz", save_again)
        with loaded:
            arrays = {}
            for name in loaded.files:
                try:
                    arrays[name] = loaded[name]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
                    raise StageError(
                        f"{shown}: {name} is an object array, which is a pickle and could run code",
                        "save plain numeric arrays of one shape",
                    ) from error
            return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
    except FileNotFoundError as error:
        raise StageError(f"there is no file {shown}", "create it, or mend data.path") from error
    except (StageError, MemoryError):
        raise
    # damage shows in whatever zipfile, zlib and numpy stumble over
    except Exception as error:
        raise StageError(f"{shown} is not an npz, or is damaged", save_again) from error


def _checked(
    arrays: dict[str, NDArray[Any]], x_name: str, y_name: str, shown: str, layout: str
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    x, y = arrays[x_name], arrays[y_name]
    if layout in SIGNALS and x.ndim != 3:
        raise StageError(
            f"{shown}: {x_name} has shape {x.shape}, and data.layout {layout} is of signals",
            f"give {SIGNALS[layout]}, or drop data.layout",
        )
    if x.ndim not in (2, 3, 4):
        raise StageError(
            f"{shown}: {x_name} has shape {x.shape}",
            "give (N, features), (N, height, width), (N, channels, height, width), or with data.layout ncl "
            f"{SIGNALS['ncl']}",
        )
    if not x.size:
        raise StageError(f"{shown}: {x_name} is empty, shape {x.shape}", "give at least one sample")
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise StageError(f"{shown}: {x_name} has dtype {x.dtype}", "save it as uint8 (0 to 255) or float32")
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise StageError(
            f"{shown}: {y_name} has dtype {y.dtype} and shape {y.shape}",
            "give one integer label per sample, shape (N,)",
        )
    if len(x) != len(y):
        raise StageError(
            f"{shown}: {x_name} has {len(x)} samples, {y_name} {len(y)} labels", "give one label per sample"
        )
    if x.dtype != np.uint8:
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
        finite = np.isfinite(x).reshape(len(x), -1).all(1)
        if not finite.all():
            raise StageError(
                f"{shown}: {x_name} holds NaN or infinity, first in sample {int(np.argmin(finite))}",
                "mend or drop those samples",
            )
    if layout in SIGNALS:
        x = x if layout == "ncl" else x.transpose(0, 2, 1)
    elif x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and layout == "nhwc":
        x = x.transpose(0, 3, 1, 2)
    return x, y.astype(np.int64)
