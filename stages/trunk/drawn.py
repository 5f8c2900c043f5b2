"""Which samples a split gets, and how many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.base import StageError


def pick(
    samples: NDArray[np.intp], strata: NDArray[Any] | None, count: int, stream: np.random.Generator
) -> NDArray[np.intp]:
    """`count` of the samples in random order, every class in its proportion to within one sample."""
    shuffled = stream.permutation(len(samples))
    if strata is not None:
        of = strata[samples]
        shuffled = shuffled[np.argsort(of[shuffled], kind="stable")]
    # evenly spaced over samples sorted by class, at random within each class
    spaced = ((np.arange(count) + 0.5) * len(samples) / count).astype(np.intp)
    picked: NDArray[np.intp] = samples[stream.permutation(shuffled[spaced])]
    return picked


def without(samples: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.intp]:
    """The samples that are not among the others."""
    kept: NDArray[np.intp] = samples[~np.isin(samples, others)]
    return kept


def share(fraction: float, samples: int, split: str) -> int:
    """How many samples a fraction is. StageError where that is none, or all."""
    count = round(fraction * samples)
    if not 0 < count < samples:
        raise StageError(
            f"{split}_fraction {fraction:g} of {samples} samples is {count}, which leaves {samples - count} for train",
            f"change data.{split}_fraction",
            "give more samples",
        )
    return count


def limit(wanted: int | None, samples: int, split: str) -> int:
    """How many samples are taken, all for None. StageError where there are fewer."""
    if wanted is not None and wanted > samples:
        raise StageError(
            f"{split}_samples is {wanted}, but there are {samples} {'test' if split == 'test' else 'train'} samples",
            f"set data.{split}_samples to at most {samples}",
        )
    return samples if wanted is None else wanted
