"""Samples of a model with several inputs, or what one with several outputs gives: an array for each, by its name.

Where there is one input or one output, its samples are a plain array, here and everywhere: nothing else of the
pipeline asks how many there are. Tensors of PyTorch are held as arrays are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from recast.stages.base import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Samples:
    """Arrays (N, ...) of one number of samples, by name, in an order that counts where names do not."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        """Raises StageError for arrays of different lengths."""
        self.arrays = dict(arrays)
        counts = {name: len(array) for name, array in self.arrays.items()}
        if len(set(counts.values())) != 1:
            said = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "nothing"
            raise StageError(f"not one number of samples: {said}", "give as many of each")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: Any) -> Samples:
        """The samples that a slice, a list or an array of positions chooses; a single position keeps its axis."""
        chosen = slice(index, index + 1 or None) if isinstance(index, int) else index
        return Samples({name: array[chosen] for name, array in self.arrays.items()})


Taken: TypeAlias = "NDArray[Any] | Samples"
"""what a model takes or gives: the array of its one input or output, or an array for each of several"""


def of(arrays: Mapping[str, Any]) -> Any:
    """The array where there is one, else Samples."""
    return next(iter(arrays.values())) if len(arrays) == 1 else Samples(arrays)


def each(x: Any, change: Callable[[Any], Any]) -> Any:
    """What `change` makes of the array, or of each one."""
    return Samples({name: change(array) for name, array in x.arrays.items()}) if isinstance(x, Samples) else change(x)


def named_as(given: Sequence[str], wanted: Sequence[str], what: str = "the model") -> dict[str, str]:
    """Each of the given names -> the wanted one it stands for: its own, or where none is wanted, that of its place.

    Where there is one of each, they are one. Given names that nobody wants are left out. Raises StageError where a
    wanted one is lacking.
    """
    missing = [name for name in wanted if name not in given]
    if not missing:
        return {name: name for name in wanted}
    if len(missing) < len(wanted) or len(wanted) != len(given):
        raise StageError(
            f"{what} takes {len(wanted)} input{'s' if len(wanted) > 1 else ''} ({', '.join(wanted)}), and is given "
            f"{', '.join(given)}",
            "set data.inputs to the names that the model has for its inputs",
            "name the arrays of inputs.path as the model names its inputs",
        )
    return dict(zip(given, wanted, strict=True))


def named(x: Any, names: Sequence[str], what: str = "the model") -> dict[str, Any]:
    """The arrays by these names: see `named_as`."""
    if not isinstance(x, Samples):
        (name,) = named_as(["one array"], names, what).values()
        return {name: x}
    called = named_as(list(x.arrays), names, what)
    return {called[name]: x.arrays[name] for name in called}


def parts(x: Any) -> dict[str, Any]:
    """Every array by its name; an only one has none."""
    return x.arrays if isinstance(x, Samples) else {"": x}


def joined(batches: Iterable[Taken]) -> Any:
    """Batches, one after the other."""
    import numpy as np

    found: list[Any] = list(batches)
    if not isinstance(found[0], Samples):
        return np.concatenate(found)
    return Samples({name: np.concatenate([parts(one)[name] for one in found]) for name in found[0].arrays})


def shapes(x: Any) -> str:
    """Of one sample, for messages: `(3, 32, 32)`, or `image (3, 32, 32), meta (5,)`."""
    return ", ".join(f"{name} {tuple(array.shape[1:])}".strip() for name, array in parts(x).items())
