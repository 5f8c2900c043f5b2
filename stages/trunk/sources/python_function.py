"""Samples that a function of the project's own gives."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError
from recast.stages.trunk.own_data import Audio
from recast.stages.trunk.sources import Source, npz_file, spilled

_GIVE = (
    "return a dict of arrays named as in an npz (x and y; or x_train, y_train, x_test and y_test), a pair x, y, or a "
    "torch.utils.data.Dataset"
)


def read(
    function: Callable[..., Any],
    name: str,
    path: Path | None,
    layouts: str | Mapping[str, str],
    *,
    roots: Sequence[Path],
    scratch: Path,
    audio: Audio | None = None,
) -> Source:
    """What the function gives, called with `path` if there is one, as an npz of such arrays would be read.

    A function with a parameter `roots` is given the data roots. Samples may be a sequence that is read one at a time;
    what does not fit in memory lies in `scratch`. With `audio` they are recordings (n,), of which features are made.
    """
    from recast.stages.common.torch_models import user_code
    from recast.stages.trunk.sources import wav_folder

    try:
        named = {"roots": list(roots)} if "roots" in inspect.signature(function).parameters else {}
        made = function(*([path] if path is not None else []), **named)
        change = (lambda one: wav_folder.features_of(one, audio, name)) if audio else np.asarray
        arrays = _Reading(name, change, scratch).arrays(made)
    except StageError:
        raise
    except Exception as error:
        traceback.print_exc()
        place = user_code.place_of(error)
        raise StageError(
            f"{name} fails: {type(error).__name__}: {error}" + (f" ({place})" if place else ""), "mend it there"
        ) from error
    if arrays is None:
        raise StageError(f"{name} gives {type(made).__name__}", _GIVE)
    if audio is None:
        return npz_file.of_arrays(arrays, name, layouts, scratch)
    layouts = "ncl" if audio.features == "waveform" else layouts
    return replace(npz_file.of_arrays(arrays, name, layouts, scratch), front_end=wav_folder.front_end(audio))


class _Reading:
    """What a function gave, as arrays by their names."""

    def __init__(self, name: str, change: Callable[[Any], NDArray[Any]], scratch: Path) -> None:
        self._name, self._change, self._scratch = name, change, scratch

    def arrays(self, made: Any) -> dict[str, NDArray[Any]] | None:
        if isinstance(made, Mapping):
            return {str(name): self._array(str(name), of) for name, of in made.items()}
        if isinstance(made, tuple) and len(made) == 2:
            return {"x": self._array("x", made[0]), "y": np.asarray(made[1])}
        if not _is_read_one_by_one(made) or not len(made):
            return None
        if not _is_pair(made[0]):
            return {"x": self._array("x", made)}
        labels: list[Any] = []

        def sample(number: int) -> NDArray[Any]:
            one = made[number]
            if not _is_pair(one):
                raise StageError(f"{self._name}: item {number} is no pair of sample and label", "give all alike")
            labels.append(np.asarray(one[1]))
            return self._change(one[0])

        return {"x": self._stacked("x", len(made), sample), "y": np.stack(labels)}

    def _array(self, name: str, of: Any) -> NDArray[Any]:
        is_samples = name in ("x", "x_train", "x_test")
        if _is_read_one_by_one(of):
            return self._stacked(name, len(of), lambda number: (self._change if is_samples else np.asarray)(of[number]))
        array = np.asarray(of)
        if not is_samples or self._change is np.asarray:
            return array
        return self._stacked(name, len(array), lambda number: self._change(array[number]))

    def _stacked(self, name: str, count: int, of: Callable[[int], NDArray[Any]]) -> NDArray[Any]:
        return spilled.stacked(count, of, self._scratch / f"{len(list(self._scratch.iterdir()))}.npy", self._name)


def _is_pair(one: Any) -> bool:
    return isinstance(one, tuple) and len(one) == 2


def _is_read_one_by_one(made: Any) -> bool:
    """Whether it is a sequence, a torch.utils.data.Dataset for one, but no array, tensor or list."""
    is_sequence = hasattr(made, "__getitem__") and hasattr(made, "__len__")
    return is_sequence and not hasattr(made, "__array__") and not isinstance(made, str | bytes | list | tuple)
