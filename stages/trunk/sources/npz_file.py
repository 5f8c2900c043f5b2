"""An npz of one's own."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError
from recast.stages.common import npz_files, samples
from recast.stages.trunk.sources import Source, npz_bounds, spilled
from recast.stages.trunk.sources.table import split_of

MOST_AXES = 5
"""of samples, the first axis counted"""
SIGNALS = {"ncl": "(N, channels, length)", "nlc": "(N, length, channels)"}


def read(path: Path, shown: str, layouts: str | Mapping[str, str], scratch: Path | None = None) -> Source:
    """Arrays of one's own: x and, where there are labels, y; or x_train, x_test, y_train and y_test.

    x (N, ...) is uint8, a float, or other whole numbers, which are tokens. (N, H, W) are images of one channel,
    (N, H, W, C) images with layout nhwc; of layout ncl or nlc it holds signals, (N, C, L) or (N, L, C). `classes`,
    text, names the classes; `split` and `groups` say of each sample which split it is for, and what it shares. Where
    `layouts` names inputs, each with its layout, their arrays are read in place of x. The task judges y. StageError for
    everything else; a pickle is never loaded. Samples stay in the file, if it is not compressed; what has to be made of
    them and does not fit in memory lies in `scratch`.
    """
    return of_arrays(npz_arrays(path, shown), shown, layouts, scratch)


def of_arrays(
    arrays: dict[str, NDArray[Any]], shown: str, layouts: str | Mapping[str, str], scratch: Path | None = None
) -> Source:
    """What `read` makes of the arrays of a file, by their names."""
    of = {"x": layouts} if isinstance(layouts, str) else dict(layouts)
    own_test = all({f"{name}_train", f"{name}_test"} <= arrays.keys() for name in of)
    missing = [name for name in of if name not in arrays]
    if not own_test and missing:
        named = f", and none for the input {missing[0]}" if missing != ["x"] else ""
        raise StageError(
            f"{shown} holds {', '.join(sorted(arrays)) or 'no arrays'}{named}",
            "name the arrays x and y, or x_train, y_train, x_test and y_test"
            if list(of) == ["x"]
            else f"name the arrays {', '.join((*of, 'y'))}, or each of them with _train and _test behind it",
            "name under data.inputs what the file holds" if not isinstance(layouts, str) else "",
        )
    found = [_split(arrays, of, part, shown, scratch) for part in (("_train", "_test") if own_test else ("",))]
    classes = _class_names(arrays, shown)
    if not own_test:
        x, y = found[0]
        split, groups = (_texts(arrays, name, len(x), shown) for name in ("split", "groups"))
        return Source(x, y, None, None, classes, None if split is None else split_of(split, "split", shown), groups)
    (x, y), (x_test, y_test) = found
    for name, one, test in zip(of, samples.parts(x).values(), samples.parts(x_test).values(), strict=True):
        if test.shape[1:] != one.shape[1:] or test.dtype != one.dtype:
            raise StageError(
                f"{shown}: {name}_train holds {one.dtype} of shape {one.shape[1:]}, {name}_test {test.dtype} of "
                f"{test.shape[1:]}",
                "save both alike",
            )
    if (y is None) != (y_test is None):
        raise StageError(f"{shown} holds labels of one of train and test", "give y_train and y_test, or neither")
    return Source(x, y, x_test, y_test, classes)


def _split(
    arrays: dict[str, NDArray[Any]], layouts: Mapping[str, str], part: str, shown: str, scratch: Path | None
) -> tuple[Any, NDArray[Any] | None]:
    """Samples of every input, and labels; `part` ends the names of their arrays."""
    found = {name: _samples(arrays, f"{name}{part}", shown, layout, scratch) for name, layout in layouts.items()}
    (first, one), *others = found.items()
    for name, other in others:
        if len(other) != len(one):
            raise StageError(
                f"{shown}: {first}{part} has {len(one)} samples, {name}{part} {len(other)}",
                "give one of each for every sample",
            )
    return samples.of(found), _labels(arrays, f"{first}{part}", f"y{part}", shown)


def _texts(arrays: dict[str, NDArray[Any]], name: str, samples: int, shown: str) -> NDArray[Any] | None:
    """An array that says something of each sample."""
    found = arrays.get(name)
    if found is not None and found.shape != (samples,):
        raise StageError(f"{shown}: {name} has shape {found.shape}, for {samples} samples", "give one for each sample")
    return None if found is None else found.astype(str)


def _class_names(arrays: dict[str, NDArray[Any]], shown: str) -> tuple[str, ...]:
    names = arrays.get("classes")
    if names is None:
        return ()
    if names.ndim != 1 or names.dtype.kind != "U":
        raise StageError(
            f"{shown}: classes has dtype {names.dtype} and shape {names.shape}",
            "save their names as np.array([...]) of text, in the order of the labels",
        )
    return tuple(str(name) for name in names)


def npz_arrays(path: Path, shown: str) -> dict[str, NDArray[Any]]:
    """The arrays of an npz by name; StageError for a file that is absent, damaged or holds a pickle."""
    save_again = "save it with np.savez(path, x=..., y=...)"
    try:
        npz_bounds.check(path, shown)
        if not zipfile.is_zipfile(path):
            # allow_pickle stays off: an npz may not run code
            np.load(path, allow_pickle=False)
            raise StageError(f"{shown} is one bare array, not an npz", save_again)
        return npz_files.arrays(path)
    except FileNotFoundError as error:
        raise StageError(f"there is no file {shown}", "create it, or mend the path") from error
    except (StageError, MemoryError):
        raise
    except npz_files.ObjectArray as error:
        raise StageError(
            f"{shown}: {error} is an object array, which is a pickle and could run code",
            "save plain numeric arrays of one shape",
        ) from error
    # damage shows in whatever zipfile, zlib and numpy stumble over
    except Exception as error:
        raise StageError(f"{shown} is not an npz, or is damaged", save_again) from error


def _samples(arrays: dict[str, NDArray[Any]], name: str, shown: str, layout: str, scratch: Path | None) -> NDArray[Any]:
    x = arrays[name]
    if layout in SIGNALS and x.ndim != 3:
        raise StageError(
            f"{shown}: {name} has shape {x.shape}, and data.layout {layout} is of signals",
            f"give {SIGNALS[layout]}",
            "drop data.layout",
        )
    if not 1 <= x.ndim <= MOST_AXES:
        raise StageError(
            f"{shown}: {name} has shape {x.shape}",
            f"give (N, features), (N, height, width) or (N, channels, height, width), at most {MOST_AXES} axes",
            f"set data.layout to ncl for signals {SIGNALS['ncl']}",
        )
    if not x.size:
        raise StageError(f"{shown}: {name} is empty, shape {x.shape}", "give at least one sample")
    if x.dtype.kind not in "fiub":
        raise StageError(
            f"{shown}: {name} has dtype {x.dtype}",
            "save it as uint8 (0 to 255) or float32; whole numbers of another type are given to the model as they are",
        )
    if x.dtype.kind == "f":
        x = _float32(x, name, scratch)
        for part in spilled.parts(x):
            finite = np.isfinite(x[part]).reshape(part.stop - part.start, -1).all(1)
            if not finite.all():
                raise StageError(
                    f"{shown}: {name} holds NaN or infinity, first in sample {part.start + int(np.argmin(finite))}",
                    "mend or drop those samples",
                )
    if layout in SIGNALS:
        return x if layout == "ncl" else x.transpose(0, 2, 1)
    if x.ndim == 3 and (x.dtype == np.uint8 or x.dtype.kind == "f"):
        return x[:, None]
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 and layout == "nhwc" else x


def _float32(x: NDArray[Any], name: str, scratch: Path | None) -> NDArray[np.float32]:
    def change(few: NDArray[Any]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # infinity is said
            return few.astype(np.float32, copy=False)

    if x.dtype == np.float32 or scratch is None:
        return change(x)
    return spilled.changed(x, change, scratch / f"{name}.float32.npy")


def _labels(arrays: dict[str, NDArray[Any]], x_name: str, y_name: str, shown: str) -> NDArray[Any] | None:
    y = arrays.get(y_name)
    if y is not None and (not y.ndim or len(arrays[x_name]) != len(y)):
        labels = f"{len(y)} labels" if y.ndim else "is one number"
        raise StageError(
            f"{shown}: {x_name} has {len(arrays[x_name])} samples, {y_name} {labels}", "give one label per sample"
        )
    return y
