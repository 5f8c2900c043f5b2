"""Compare what was compiled with onnxruntime before it may be called emitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError, note
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 0
ROUNDINGS = 128
"""how many times what one rounding of the inputs costs the scores all those within a model may cost, at the most: 25
to 40 were measured of EfficientNets, of 81 convolutions and more"""


@dataclass(frozen=True)
class Checker:
    """What compiled code must compute: onnxruntime's outputs for samples and for random input."""

    model: onnx_files.Model
    """with a fixed batch"""
    x: Any
    """(N, *shape), or Samples of several inputs"""
    expected: Any
    """(N, ...), or Samples of several outputs"""
    limit: float
    """largest error of a score, relative to the largest score of its output"""

    def batch_of(self, sample: int, batch: int) -> Any:
        """The samples among which compiled code of that batch has the sample."""
        start = min(sample // batch * batch, max(0, len(self.x) - batch))
        return self.x[start : start + batch]

    def error(self, predict: Callable[[Any], Any], file: str, first_layer: Callable[[int], str]) -> float:
        """The largest error of `predict`, which is what `file` computes for x, relative to the largest score.

        Of several outputs it is the worst one's. Raises StageError above the limit, or if a score is NaN; it says what
        `first_layer` found, which is given the sample with the largest error.
        """
        names = [port.name for port in onnx_files.outputs_of(self.model)]
        actual, expected = samples.named(predict(self.x), names), samples.named(self.expected, names)
        return max(self._error(name, actual[name], expected[name], file, first_layer) for name in names)

    def _error(
        self, made: str, actual: NDArray[Any], expected: NDArray[Any], file: str, first_layer: Callable[[int], str]
    ) -> float:
        import numpy as np

        if actual.shape != expected.shape:
            raise StageError(
                f"{file} is wrong: its output {made} has shape {actual.shape}, and onnxruntime's {expected.shape}"
                + first_layer(0),
                "report it with the model",
            )
        # in float64: small integers would wrap
        expected = expected.astype(np.float64)
        off = np.abs(actual.astype(np.float64) - expected)
        error = float(off.max()) / (float(np.abs(expected).max()) or 1.0)
        if not error <= self.limit:  # NaN is not below the limit either
            worst = int(np.nan_to_num(off, nan=np.inf).reshape(len(off), -1).max(axis=1).argmax())
            raise StageError(
                f"{file} is wrong: its output {made} differs from onnxruntime's by {error:.3g} of the largest score, "
                f"above emit.max_error {self.limit:g} (worst at check sample {worst}){first_layer(worst)}",
                "report it with the model; raise emit.max_error only for an error of rounding",
            )
        return error


def checker(
    model: onnx_files.Model,
    taken: Taken,
    count: int,
    random: int,
    limit: float,
    threads: int,
    *,
    is_float: bool = True,
) -> Checker:
    """Of the first `count` of normalised samples (N, *shape), and of `random` inputs like them; see `like`.

    `is_float`: whether the model computes in floats alone. Then random inputs at which rounding alone may exceed the
    limit are left out, and said: what a deep model of random or overgrown weights makes of noise is chaos, with any
    compiler. Raises StageError where onnxruntime fails on them, or gives NaN or infinity.
    """
    session = onnx_files.Session(model, threads, "the model")
    x, expected = [taken[:count]], [session.run(taken[:count])]
    if not _finite(expected[0]):
        raise StageError("the model gives NaN or infinity on the calibration samples", "check the model's weights")
    if random:
        x.append(samples.each(taken, lambda array: like(array, random)))
        unlike = "set emit.check_random to 0 if no such input can occur"
        try:
            expected.append(session.run(x[1]))
        except StageError as error:
            raise StageError(
                f"on random inputs within what the calibration samples hold: {error.message}", unlike
            ) from error
        if not _finite(expected[1]):
            raise StageError(
                "the model gives NaN or infinity on random inputs, though each of their values lies between those that "
                "the calibration samples have at the same place",
                unlike,
                "check the model's weights",
            )
        if is_float:
            x[1], expected[1] = _without_chaos(session, x, expected, limit)
    return Checker(model, samples.joined(x), samples.joined(expected), limit)


def _without_chaos(
    session: onnx_files.Session, x: Sequence[Any], expected: Sequence[Any], limit: float
) -> tuple[Any, Any]:
    """The random inputs and their outputs, but for those where rounding may cost as much as the limit."""
    import numpy as np

    costs = np.zeros(len(x[1]))
    rounded = samples.parts(session.run(samples.each(x[1], _rounded)))
    known = samples.parts(expected[0])
    for name, made in samples.parts(expected[1]).items():
        scale = max(float(np.abs(made).max(initial=0)), float(np.abs(known[name]).max(initial=0))) or 1.0
        off = np.abs(rounded[name].astype(np.float64) - made).reshape(len(costs), -1).max(axis=1, initial=0)
        costs = np.maximum(costs, np.nan_to_num(off, nan=0.0, posinf=0.0) / scale)
    kept = np.flatnonzero(costs * ROUNDINGS <= limit)
    if len(kept) < len(costs):
        note(
            f"{len(costs) - len(kept)} of {len(costs)} random inputs are not compared: another last digit in them "
            f"moves scores by up to {costs.max():.1g} of the largest, so that rounding within the model may alone "
            f"exceed emit.max_error {limit:g} there"
        )
    return x[1][kept], expected[1][kept]


def _rounded(x: NDArray[Any]) -> NDArray[Any]:
    """About half of the floats nearer to 0 by one unit in the last place."""
    import numpy as np

    if x.dtype.kind != "f":
        return x
    chosen = np.random.default_rng(SEED).random(x.shape) < 0.5
    return np.where(chosen, np.nextafter(x, np.zeros_like(x)), x)


def _finite(outputs: Taken) -> bool:
    import numpy as np

    return all(np.isfinite(one).all() for one in samples.parts(outputs).values())


def like(given: NDArray[Any], count: int) -> NDArray[Any]:
    """Random inputs (count, *shape) of the samples' type, within what these hold at each place.

    Whole numbers, even as floats, may be indices, as tokens of a vocabulary are: each is one that some sample holds at
    the same place. Other floats lie between the least and the greatest there, since a model may take a logarithm.
    """
    import numpy as np

    random = np.random.default_rng(SEED)
    shape = (count, *given.shape[1:])
    if given.dtype.kind == "f" and (given != np.round(given)).any():
        drawn = random.uniform(given.min(0), given.max(0), shape)
        # rounded to the type of the samples it may lie a little outside
        within: NDArray[Any] = np.clip(drawn.astype(given.dtype), given.min(0), given.max(0))
        return within
    chosen = random.integers(0, len(given), shape)
    taken: NDArray[Any] = np.take_along_axis(given, chosen, axis=0)
    return taken
