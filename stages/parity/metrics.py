"""How far two forms of a model are apart, layer by layer, and at which layer the error jumps.

Every layer is compared twice. *End to end*: both forms run on the same samples, and their activations are compared; the
error there is that of all layers so far. *Alone*: the later form's layer is given the earlier form's inputs, and its
output is compared; the error there is this layer's own. A fault is found by the second: errors handed on do not
enter it, so neither float noise that grows over thirty layers nor the gradual loss of int8 is ever a jump.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from recast.stages.common import samples
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

Agree = Callable[[Any, Any], "float | None"]
"""a task's agreement: of outputs (N, ...), or Samples of several, of the earlier form and of the later one"""
Kind = Literal["float", "int8", "same"]
"""what a conversion may change: rounding of floats, quantization to integers, or nothing"""

EXACT_DB = 200.0
"""what stands for an infinite SQNR, when two tensors are equal; and its negative for a hopeless one"""
LARGEST = 3.4e38
"""what NaN and infinity count as"""
FLOAT_DB = 80.0
"""a float layer that keeps less, a relative error of 1e-4, computes something else: float32 keeps 120 to 140"""
RIGHT_DB = 100.0
"""a float model whose output keeps this has no fault: what is left is rounding"""
NOISE_MARGIN_DB = 20.0
"""...unless a rounding error of the layer's inputs costs nearly as much, as in a difference of near equals"""
INT8_DB = 20.0
"""an int8 layer normally keeps 25 to 45; one that keeps less than this is blamed if it also stands out:"""
INT8_BELOW_OTHERS_DB = 8.0
INT8_HOPELESS_DB = 8.0
"""below this the error is 40 % of the signal: blamed whatever the other layers are"""
SAME_DB = 30.0
"""the same integers on another runtime: a few may round the other way, which costs no more than this"""
SAME_STEPS = 2.0
"""...and moves none of them further than this: the integers given are the same, so only the last rounding may differ"""
JUMP_DB = 12.0
"""where a layer cannot be run alone: how much worse its output must be than its inputs"""


@dataclass(frozen=True)
class Difference:
    """Of a candidate from a reference.

    `relative` is |candidate - reference| / |reference| in the Euclidean norm over all elements; `sqnr_db`, the
    signal-to-quantization-noise ratio, is -20 log10 of it, within ±EXACT_DB; `cosine` is that of the angle between.
    """

    max_abs: float
    relative: float
    sqnr_db: float
    cosine: float


@dataclass(frozen=True)
class LayerError:
    """One layer: what it adds, and what had come before."""

    layer: str
    tensor: str
    operation: str
    covers: tuple[str, ...]
    """layers that only the earlier form shows, whose error therefore counts here"""
    inputs: tuple[str, ...]
    """tensors the layer reads, as far as both forms show them"""
    before: Difference | None
    """end to end, at the worst of its inputs; None at the model's own input"""
    after: Difference
    """end to end, at its output"""
    alone: Difference | None
    """given the reference's inputs; None where the runtime cannot run it alone"""
    noise_db: float | None = None
    """SQNR of the layer alone when its inputs are off by a float32 rounding error"""
    steps: float | None = None
    """largest error of the layer alone, in steps of its integers; None where it gives none, or no single scale"""

    @property
    def title(self) -> str:
        """The layer with those it covers: `conv1 + relu1`."""
        return " + ".join([*self.covers, self.layer])


HOPELESS = Difference(LARGEST, 10 ** (EXACT_DB / 20), -EXACT_DB, 0.0)
"""of two tensors that have not even one shape"""


def difference(reference: NDArray[Any], candidate: NDArray[Any], least_rms: float = 0.0) -> Difference:
    """Compare two arrays of one shape, in float64.

    NaN and infinity in the candidate count as the largest float32. `least_rms` keeps a reference of zeros, or nearly,
    from making a relative error of nothing: its root mean square counts as at least that.
    """
    import numpy as np

    r = reference.astype(np.float64).ravel()
    c = candidate.astype(np.float64).ravel()
    error = c - r
    noise = math.sqrt(np.dot(error, error))
    if not math.isfinite(noise):
        c = np.nan_to_num(c, nan=LARGEST, posinf=LARGEST, neginf=-LARGEST)
        error = c - r
        noise = float(np.linalg.norm(error))
    of_reference = math.sqrt(np.dot(r, r))
    scale = max(of_reference, least_rms * math.sqrt(r.size))
    relative = noise / scale if scale else (0.0 if noise == 0 else 10 ** (EXACT_DB / 20))
    norms = of_reference * math.sqrt(np.dot(c, c))
    cosine = float(np.dot(r, c)) / norms if norms else float(noise == 0)
    largest = max(float(error.max()), -float(error.min())) if error.size else 0.0
    return Difference(largest, relative, _decibel(relative), cosine)


def of_outputs(reference: Taken, candidate: Taken) -> Difference:
    """Of the output, or of the worst of several by its SQNR; hopeless if they have not even one shape.

    Whole numbers, such as the number of a class, have no distance: they count only where there is no other output.
    """
    expected, made = samples.parts(reference), samples.parts(candidate)
    floats = {name: value for name, value in expected.items() if value.dtype.kind == "f"}
    found = [_of_output(value, made[name]) for name, value in (floats or expected).items() if name in made]
    worst = min(found, key=lambda one: one.sqnr_db, default=HOPELESS)
    cosine, largest = (
        pick(values)
        for pick, values in (
            (min, [one.cosine for one in found] or [0.0]),
            (max, [one.max_abs for one in found] or [LARGEST]),
        )
    )
    return worst if len(found) < 2 else Difference(largest, worst.relative, worst.sqnr_db, cosine)


def _of_output(reference: NDArray[Any], candidate: NDArray[Any]) -> Difference:
    return difference(reference, candidate) if reference.shape == candidate.shape else HOPELESS


def rms(values: NDArray[Any]) -> float:
    """The root mean square over all elements."""
    import numpy as np

    return float(np.sqrt(np.mean(np.square(values.astype(np.float64))))) if values.size else 0.0


def first_jump(layers: Sequence[LayerError], kind: Kind, output: Difference) -> LayerError | None:
    """The first layer, in the order given, whose own error the kind of conversion does not explain; None if none.

    `output`: of the model's output, end to end.
    """
    if kind == "float" and output.sqnr_db >= RIGHT_DB:
        # the output is right: whatever differs on the way, such as a tensor that only bears the same name, is no fault
        return None
    return next((layer for layer in layers if _jumps(layer, layers, kind)), None)


def ranked(layers: Sequence[LayerError]) -> list[LayerError]:
    """Layers by the error they add, the worst first; where it cannot be run alone, by its SQNR if that falls there."""
    return sorted(layers, key=lambda layer: (_own_db(layer), layer.tensor))


def _jumps(layer: LayerError, layers: Sequence[LayerError], kind: Kind) -> bool:
    if layer.alone is None:
        before = layer.before.sqnr_db if layer.before else EXACT_DB
        limit = {"float": FLOAT_DB, "int8": INT8_DB, "same": SAME_DB}[kind]
        return layer.after.sqnr_db < limit and before - layer.after.sqnr_db >= JUMP_DB
    own = layer.alone.sqnr_db
    if kind == "float":
        floor = EXACT_DB if layer.noise_db is None else layer.noise_db - NOISE_MARGIN_DB
        return own < min(FLOAT_DB, floor)
    if kind == "same":
        return own < SAME_DB or (layer.steps is not None and layer.steps > SAME_STEPS + 0.5)
    others = [other.alone.sqnr_db for other in layers if other is not layer and other.alone is not None]
    usual = median(others) if others else INT8_DB + INT8_BELOW_OTHERS_DB
    return own < INT8_HOPELESS_DB or (own < INT8_DB and own <= usual - INT8_BELOW_OTHERS_DB)


def _own_db(layer: LayerError) -> float:
    if layer.alone is not None:
        return layer.alone.sqnr_db
    before = layer.before.sqnr_db if layer.before else EXACT_DB
    return layer.after.sqnr_db if layer.after.sqnr_db < before else EXACT_DB


def _decibel(relative: float) -> float:
    if relative <= 10 ** (-EXACT_DB / 20):
        return EXACT_DB
    return max(-EXACT_DB, -20 * math.log10(relative))
