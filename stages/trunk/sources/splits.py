"""Splits as the owner of the data has them: samples by split, and samples that must stay together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError, note
from recast.stages.common import samples
from recast.stages.trunk.sources import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STREAM = 5
"""of the seed, beside those by which samples are drawn"""


def stated(source: Source, test_fraction: float, validation_fraction: float, seed: int, what: str) -> Source:
    """The source with its test split apart, where its owner or the groups say which samples that is.

    What is left of `split` is that of the other samples. StageError where a stated split has no samples for train or
    test, or two share a group.
    """
    import numpy as np

    split = source.split
    if source.groups is not None:
        if split is not None:
            _refuse_shared(source.groups, split, what)
        split = _by_group(source, test_fraction, validation_fraction, seed, what) if split is None else split
    if split is None:
        return source
    if not (split == "train").any():
        raise StageError(f"{what} has no samples of the split train", "name some so")
    is_test = split == "test"
    if source.x_test is not None:
        return replace(source, split=split)
    if not is_test.any():
        raise StageError(f"{what} has no samples of the split test", "name some so")
    kept = np.flatnonzero(~is_test)
    held = np.flatnonzero(is_test)
    y = source.y
    return replace(
        source,
        x=_rows(source.x, kept),
        y=None if y is None else y[kept],
        x_test=_rows(source.x, held),
        y_test=None if y is None else y[held],
        split=split[kept],
        groups=None if source.groups is None else source.groups[kept],
    )


def _rows(x: Any, rows: NDArray[np.intp]) -> Any:
    """Those samples of every input, which stay where they are."""
    from recast.stages.trunk.sources.spilled import Rows

    return samples.each(x, lambda array: Rows(array, rows))


def of(source: Source, name: str, kept: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """Of the kept samples those that are for the split; None if it is not for the source to say."""
    if source.split is None or not (source.split == name).any():
        return None
    found: NDArray[np.intp] = kept[source.split[kept] == name]
    return found


def _refuse_shared(groups: NDArray[Any], split: NDArray[Any], what: str) -> None:
    seen: dict[str, str] = {}
    for group, name in dict.fromkeys(zip(groups.tolist(), split.tolist(), strict=True)):
        name = "train" if name == "calibration" else name
        if seen.setdefault(group, name) != name:
            raise StageError(
                f"{what}: group '{group}' is in {seen[group]} and in {name}",
                "give it to one of them",
                "drop the column of groups",
            )


def _by_group(source: Source, test: float, validation: float, seed: int, what: str) -> NDArray[Any]:
    """A split (N,) for each sample: whole groups at random, until each split has its share of the samples."""
    import numpy as np

    groups = source.groups
    if groups is None:
        raise TypeError("a source without groups")
    names, counts = np.unique(groups, return_counts=True)
    wanted = {} if source.x_test is not None else {"test": test * len(groups)}
    if validation:
        wanted["validation"] = validation * (len(groups) - sum(wanted.values()))
    if len(names) <= len(wanted):
        raise StageError(
            f"{what} has {len(names)} groups, and each of {', '.join(('train', *wanted))} needs one",
            "give more groups",
            "set data.validation_fraction to 0" if validation else "",
        )
    order = np.random.default_rng([seed, _STREAM]).permutation(len(names))
    chosen: dict[str, str] = {}
    for name, count in wanted.items():
        got = 0
        for place in order:
            group = str(names[place])
            free = len(names) - len(chosen) - (len(wanted) - list(wanted).index(name))
            # the first always, so that no split is empty; others while they come nearer to what is wanted
            if group in chosen or (got and (free < 1 or abs(got + counts[place] - count) >= abs(got - count))):
                continue
            chosen[group] = name
            got += int(counts[place])
    found = np.array([chosen.get(group, "train") for group in groups.tolist()])
    counts_of = {name: len(set(groups[found == name].tolist())) for name in (*wanted, "train")}
    shares = ", ".join(f"{count} to {name}" for name, count in counts_of.items())
    note(f"{what}: {len(names)} groups, {shares}")
    return found
