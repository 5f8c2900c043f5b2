"""How much of what layers hand on is zero, and how many multiplications that leaves: what an Akida processor works on.

It is driven by events: a value that is zero is no event, and nothing is multiplied by it. Only the input's convolution
multiplies every value. The work of a layer is at most

    convolution               sum over its nonzero inputs of taps(row) * taps(column) * filters
    transposed convolution    nonzero inputs * kernel^2 * filters
    dense layer               nonzero inputs * units

where taps(i) are the places j below the kernel's size with (i + phase - j) divisible by the stride, and the phase,
which padding decides, is the one with most work; a convolution of each channel by itself has one filter. It is never
more than akida's `macs`, which count zeros too. The sum over the layers bounds the work of an inference. A chip's clock
cycles are not known from it: those depend on how the work is spread over its processors.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import Plot, progress
from recast.stages.targets.akida import layer_alone, runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ACTIVITY = Plot(
    "activity_by_layer.csv",
    x="layer",
    y=("zeros",),
    template="bar_horizontal",
    title="Share of zeros in what layers hand on",
)


@dataclass(frozen=True)
class Activity:
    """Of one layer on some samples (n)."""

    layer: str
    type: str
    macs: int
    """multiplications of one inference, zeros included"""
    values: int
    """that it hands on for a sample; zero for the last layer, whose outputs nothing reads"""
    nonzero: NDArray[np.int64]
    """(n,): how many of them are not zero"""
    work: NDArray[np.int64]
    """(n,): the most multiplications by a value that is not zero"""

    @property
    def zeros(self) -> float | None:
        """The mean share of zeros; None where nothing is handed on."""
        return 1 - float(self.nonzero.mean()) / self.values if self.values else None


def measure(model: runtime.AkidaModel, taken: NDArray[Any]) -> list[Activity]:
    """Of each layer in running order but the dequantizer, for samples (n, ...) as the model takes them.

    The model may not be mapped: it would not run.
    """
    import numpy as np

    described = model.to_dict()
    read = {before.name for layer in model.layers for before in layer.inbounds if not _ends(layer)}
    maps: dict[str, NDArray[np.int64]] = {}
    found: list[Activity] = []
    for index, layer in enumerate(model.layers, start=1):
        progress("count activations", index, len(model.layers))
        if _ends(layer):
            continue
        kind, macs = runtime.layer_type(layer), int(layer.macs)
        work = np.full(len(taken), macs, np.int64)
        if len(layer.inbounds) == 1:
            work = np.minimum(work, most_work(layer, maps[layer.inbounds[0].name], macs))
        values, nonzero = 0, np.zeros(0, np.int64)
        if layer.name in read:
            made = layer_alone.up_to(described, layer).forward(taken)
            maps[layer.name] = np.count_nonzero(made, axis=-1).astype(np.int64)
            values, nonzero = made[0].size, maps[layer.name].reshape(len(taken), -1).sum(axis=1)
        found.append(Activity(layer.name, kind, macs, values, nonzero, work))
    return found


def most_work(layer: Any, nonzero: NDArray[np.int64], macs: int) -> NDArray[np.int64]:
    """(n,): the most multiplications by values that are not zero, of which each place of the layer's input
    (n, height, width) has `nonzero`; `macs` where no bound is known."""
    import numpy as np

    kind, params = runtime.layer_type(layer), layer.parameters
    total: NDArray[np.int64] = nonzero.reshape(len(nonzero), -1).sum(axis=1)
    if kind == "Dense1D":
        made: NDArray[np.int64] = total * int(params.units)
        return made
    if kind not in ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "DepthwiseConv2DTranspose"):
        return np.full(len(nonzero), macs, np.int64)
    filters = 1 if kind.startswith("Depthwise") else int(params.filters)
    if kind.endswith("Transpose"):
        made = total * int(params.kernel_size) ** 2 * filters
        return made
    _, height, width = nonzero.shape
    stride = int(params.kernel_stride)
    rows, columns = (
        [_taps(size, int(params.kernel_size), stride, phase) for phase in range(stride)] for size in (height, width)
    )
    by_phase = [np.einsum("nhw,h,w->n", nonzero, along, across) for along in rows for across in columns]
    made = np.max(by_phase, axis=0) * filters
    return made


def _taps(size: int, kernel: int, stride: int, phase: int) -> NDArray[np.int64]:
    """(size,): in how many outputs each place takes part along an axis, borders left out of account."""
    import numpy as np

    places = np.arange(size)[:, None] + phase - np.arange(kernel)
    counts: NDArray[np.int64] = (places % stride == 0).sum(axis=1).astype(np.int64)
    return counts


def metrics(found: Sequence[Activity]) -> dict[str, Any]:
    """Of the whole model: the share of zeros among all values handed on, and the most work of any of the samples."""
    import numpy as np

    total = sum(one.values for one in found)
    nonzero = sum(float(one.nonzero.mean()) for one in found if one.values)
    work = np.sum([one.work for one in found], axis=0)
    return {
        "activation_sparsity": 1 - nonzero / total if total else 0.0,
        "work_at_most": int(work.max()),
        "work_at_most_mean": float(work.mean()),
    }


def write(found: Sequence[Activity], path: Path) -> None:
    """A row a layer: its share of zeros, akida's `macs`, and the most work of any of the samples."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["layer", "type", "zeros", "macs", "work_at_most"])
        for one in found:
            zeros = "" if one.zeros is None else f"{one.zeros:.4f}"
            rows.writerow([one.layer, one.type, zeros, one.macs, int(one.work.max())])


def _ends(layer: Any) -> bool:
    return runtime.layer_type(layer) == "Dequantizer"
