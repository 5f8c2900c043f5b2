"""What a target offers to the service: a model that answers.

A target's module, listed in `recast.stages.registry.PREDICTORS`, has `load(emitted, means: Means) -> ServedModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recast.stages.base import StageError
from recast.stages.serving.messages import Arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract, Input
    from recast.stages.common.samples import Taken

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

    scores: Arrays | None
    """(n, ...), or of several outputs by name; None if the model keeps them to itself"""
    more: Mapping[str, Any] = field(default_factory=dict)
    """JSON values beside `output`, for example a proof"""


@dataclass(frozen=True)
class ServedModel:
    """An emitted model, ready to answer."""

    contract: Contract
    takes: Values
    """what `predict` wants: samples as they are stored, or as the contract normalises them"""
    predict: Callable[[Any], Taken | Answer]
    """samples (n, *shape) of its input, or Samples of several, in the contract's stored dtype or the model's -> outputs
    (n, ...), or Samples of several; or all of the answer"""
    at_once: int | None = None
    """samples that a request may hold at most"""
    keeps_to_memory: bool = False
    """whether it keeps to `Means.memory_gib`"""

    def answer(self, samples: Arrays, values: Values) -> Answer:
        """Samples (n, *shape), float32 or int64, stored or normalised, by name of several -> the answer for them.

        Whole numbers that a model takes as they are stored are both. Normalised samples for a model that takes
        stored integers are rounded to those. Raises StageError for samples of the wrong shape or too many, for an input
        that is missing or not known, and for values that cannot be stored.
        """
        from recast.stages.common import samples as taken

        given = {name: self._wanted(self._input(name), one, values) for name, one in self._each(samples).items()}
        counts = {name: len(one) for name, one in given.items()}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{count} of {name}" for name, count in counts.items())
            raise StageError(f"the inputs hold {said}", "send as many samples of each")
        answer = self.predict(taken.of(given))
        if isinstance(answer, Answer):
            return answer
        return Answer(answer.arrays if isinstance(answer, taken.Samples) else answer)

    def described(self) -> dict[str, Any]:
        """What `GET /model` says: of one input at the top, of several inputs or outputs in lists besides."""
        contract = self.contract
        said: dict[str, Any] = {"dataset": contract.dataset}
        if len(contract.inputs) == 1:
            said["shape"] = contract.shape
        said["classes"] = contract.classes
        if len(contract.inputs) == 1:
            said |= {key: value for key, value in _described(contract.only).items() if key not in ("name", "shape")}
        if not contract.is_single:
            said["inputs"] = [_described(one) for one in contract.inputs]
            said["outputs"] = [asdict(one) for one in contract.outputs]
        return {**said, "task": dict(contract.task), "takes": self.takes}

    def _input(self, name: str) -> Input:
        return next(one for one in self.contract.inputs if one.name == name)

    def _each(self, given: Arrays) -> dict[str, NDArray[Any]]:
        """What was sent for each input, in the contract's order."""
        names = self.contract.names
        if not isinstance(given, Mapping):
            if len(names) > 1:
                raise StageError(
                    f"one array was sent, and the model takes {len(names)} inputs by name: {', '.join(names)}",
                    f"send {_form(names)}",
                )
            return {names[0]: given}
        wrong = [f"'{name}' is missing" for name in names if name not in given]
        wrong += [f"{name!a} is not known" for name in given if name not in names]
        if wrong:
            raise StageError(f"the input {wrong[0]}; the model takes {', '.join(names)}", f"send {_form(names)}")
        return {name: given[name] for name in names}

    def _wanted(self, taken: Input, samples: NDArray[Any], values: Values) -> NDArray[Any]:
        import numpy as np

        shape, what = taken.shape, "the input" if len(self.contract.inputs) == 1 else f"the input {taken.name}"
        if samples.shape[1:] != shape or samples.ndim != len(shape) + 1 or not len(samples):
            raise StageError(
                f"{what} has shape {list(samples.shape)}, and the model takes {list(shape)} or "
                f"[{', '.join(['n', *map(str, shape)])}]",
                "send one sample, or several of them",
            )
        if self.at_once is not None and len(samples) > self.at_once:
            raise StageError(
                f"{len(samples)} samples were sent, and the model takes {self.at_once} at once", "send fewer"
            )
        samples = samples.astype(np.float32) if taken.is_float else samples
        if values == "stored" or not taken.is_float:
            stored = _storable(taken, samples, samples, what)
            return stored if self.takes == "stored" else taken.normalise(stored)
        if self.takes == "normalised":
            return samples.astype(taken.dtype, copy=False)
        return _storable(taken, taken.denormalised(samples), samples, what)


def _form(names: Sequence[str]) -> str:
    """How several inputs are sent."""
    return '{"input": {' + ", ".join(f'"{name}": [...]' for name in names) + "}}"


def _described(one: Input) -> dict[str, Any]:
    types = {"stored_dtype": one.stored_dtype, "dtype": one.dtype}
    normalisation = {"divisor": one.divisor, "mean": one.mean, "std": one.std}
    return {"name": one.name, "shape": one.shape, **types, **normalisation}


def _storable(taken: Input, values: NDArray[Any], sent: NDArray[Any], what: str) -> NDArray[Any]:
    """The values in the stored dtype; a cast would wrap what does not fit."""
    import numpy as np

    dtype = np.dtype(taken.stored_dtype)
    kinds = [dtype] if taken.is_float else [dtype, np.dtype(taken.dtype)]
    ranges = [found for kind in kinds if (found := _range(kind))]
    if ranges:
        low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
        bad = (values < low) | (values > high) | (values != np.round(values))
        if bad.any():
            remedy = f"send whole numbers from {low} to {high}"
            if taken.is_float:
                remedy += " as 'stored' values, or what the data's normalisation makes of them as 'normalised' ones"
            found = sent[bad].flat[0].item()
            said = f"{found:g}" if isinstance(found, float) else str(found)
            raise StageError(f"{what} holds {said}, which is no {kinds[-1]} as samples are stored", remedy)
    stored: NDArray[Any] = values.astype(dtype)
    return stored


def _range(dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """The least and the greatest value of a type of whole numbers; None for floats."""
    import numpy as np

    if dtype.kind == "b":
        return 0, 1
    return (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) if dtype.kind in "iu" else None
