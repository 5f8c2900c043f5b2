"""What a target offers to the service: a model that answers.

A target's module, listed in `stages.registry.PREDICTORS`, has `load(emitted, means: Means) -> ServedModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.base import StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.dataset import Contract

Values = Literal["stored", "normalised"]


@dataclass(frozen=True)
class Means:
    """What a model may use of the machine."""

    threads: int
    memory_gib: float | None
    """None: as much as there is"""
    local: Path
    """the untracked store of this clone, `.recast/local`"""


@dataclass(frozen=True)
class Answer:
    """What a request is answered with."""

    scores: NDArray[np.float32] | None
    """(n, classes); None if the model keeps them to itself"""
    more: Mapping[str, Any] = field(default_factory=dict)
    """JSON values beside `output`, for example a proof"""


@dataclass(frozen=True)
class ServedModel:
    """An emitted model, ready to answer."""

    contract: Contract
    takes: Values
    """what `predict` wants: samples as they are stored, or as the contract normalises them"""
    predict: Callable[[NDArray[Any]], NDArray[np.float32] | Answer]
    """samples (n, *contract.shape), in the contract's stored dtype or float32 -> scores (n, classes), or all of it"""
    at_once: int | None = None
    """samples that a request may hold at most"""
    keeps_to_memory: bool = False
    """whether it keeps to `Means.memory_gib`"""

    def answer(self, samples: NDArray[np.float32], values: Values) -> Answer:
        """Samples (n, *shape), stored or normalised -> the answer for them.

        Normalised samples for a model that takes stored integers are rounded to those. Raises StageError for
        samples of the wrong shape or too many, and for values that cannot be stored.
        """
        answer = self.predict(self._wanted(samples, values))
        return answer if isinstance(answer, Answer) else Answer(answer)

    def _wanted(self, samples: NDArray[np.float32], values: Values) -> NDArray[Any]:
        shape = self.contract.shape
        if samples.shape[1:] != shape or not len(samples):
            raise StageError(
                f"the input has shape {list(samples.shape)}, and the model takes {list(shape)} or [n, "
                f"{', '.join(map(str, shape))}]",
                "send one sample, or several of them",
            )
        if self.at_once is not None and len(samples) > self.at_once:
            raise StageError(
                f"{len(samples)} samples were sent, and the model takes {self.at_once} at once", "send fewer"
            )
        if values == "stored":
            stored = self._storable(samples, samples)
            return stored if self.takes == "stored" else self.contract.normalise(stored)
        if self.takes == "normalised":
            return samples
        return self._storable(self.contract.denormalised(samples), samples)

    def _storable(self, values: NDArray[Any], sent: NDArray[np.float32]) -> NDArray[Any]:
        """The values in the stored dtype; a cast would wrap what does not fit."""
        import numpy as np

        dtype = np.dtype(self.contract.stored_dtype)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            bad = (values < limits.min) | (values > limits.max) | (values != np.round(values))
            if bad.any():
                raise StageError(
                    f"the input holds {sent[bad].flat[0]:g}, which is no {dtype} as samples are stored",
                    f"send whole numbers from {limits.min} to {limits.max} as 'stored' values, or what the data's "
                    "normalisation makes of them as 'normalised' ones",
                )
        stored: NDArray[Any] = values.astype(dtype)
        return stored
