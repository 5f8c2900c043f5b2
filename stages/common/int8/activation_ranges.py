"""The range of every float tensor of a graph on samples, in batches of any size.

onnxruntime's own calibrators fail where batches differ in length, keep the activations of all samples at once (its
issues 18792 and 10503), overlook NaN in the inside of a tensor, and give a tensor without elements infinite bounds.
Here lowest and highest values are NumPy's. A histogram of fixed bounds is the sum of the histograms of its parts, so a
second pass over the samples makes the very one onnxruntime would; which range follows from it is onnxruntime's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from recast.stages.base import StageError, progress
from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files, onnx_session
from recast.stages.common.samples import Taken
from recast.stages.common.vendor_errors import foreign

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_BYTES = 2**30
"""of activations at once"""
BINS = {"entropy": 128, "percentile": 2048}
"""of a histogram; onnxruntime's own defaults"""


@dataclass(frozen=True)
class Method:
    """How a range follows from the values seen; `percentile`: per cent of values inside it, for that method.

    `mean`: the means over samples of each one's lowest and highest value, so that a few samples unlike the others do
    not widen the range for all.
    """

    name: Literal["minmax", "mean", "entropy", "percentile"]
    percentile: float


def find(
    model: onnx_files.Model, taken: Taken, method: Method, batch_size: int, threads: int
) -> dict[str, tuple[Any, Any]]:
    """Tensor name -> lowest and highest value, NumPy scalars of the tensor's type, over samples (N, *shape).

    Of all float tensors that the graph's nodes read or write, weights left out; a tensor without elements has 0 and 0.
    Raises StageError naming a tensor that holds NaN or infinity.
    """
    import numpy as np

    watched = Watched(model, threads)
    size = min(batch_size, watched.affordable(taken))
    bounds: dict[str, tuple[Any, Any]] = {}
    each: dict[str, list[Any]] = {}
    for name, values in watched.values(taken, size, "calibrate"):
        if values.size:
            low, high = values.min(), values.max()  # NaN if one is among them
            if method.name == "mean":
                each.setdefault(name, []).append(_by_sample(values, low, high))
            known = bounds.get(name, (low, high))
            bounds[name] = (np.minimum(known[0], low), np.maximum(known[1], high))
            if not np.isfinite(bounds[name]).all():
                raise StageError(
                    f"activations hold NaN or infinity on the calibration samples, first in {name!r}",
                    "check the model's weights, and that the data is normalised as in training",
                )
    empty = {name: (zero, zero) for name, zero in watched.zeros.items() if name not in bounds}
    if method.name == "minmax":
        return bounds | empty
    if method.name == "mean":
        # of a fixed batch the last sample fills up the last one, and counts as often
        means = {name: np.concatenate(found, axis=1).mean(axis=1, dtype=np.float64) for name, found in each.items()}
        return {name: tuple(means[name].astype(bounds[name][0].dtype)) for name in bounds} | empty
    # percentiles are those of absolute values, as onnxruntime takes them
    least: dict[str, Any] = {}
    if method.name == "percentile":
        for name, values in watched.values(taken, size, "least values"):
            if values.size:
                smallest = np.abs(values).min()
                least[name] = min(smallest, least.get(name, smallest))
    spans = {name: (least.get(name, -_limit(known)), _limit(known)) for name, known in bounds.items()}
    spans = {name: span for name, span in spans.items() if _has_bins(span, BINS[method.name])}
    counts: dict[str, tuple[Any, Any]] = {}
    for name, values in watched.values(taken, size, "count values"):
        if name in spans:
            looked_at = np.abs(values) if least else values
            counted, edges = np.histogram(looked_at.ravel(), BINS[method.name], range=spans[name])
            counts[name] = (counts[name][0] + counted if name in counts else counted, edges)
    return bounds | _by_histogram(method, bounds, counts) | empty


def _by_sample(values: NDArray[Any], low: Any, high: Any) -> NDArray[Any]:
    """Lowest and highest value of each sample (2, n); of a tensor without a batch axis, of the whole."""
    import numpy as np

    if values.ndim < 2:
        return np.array([[low], [high]])
    rows = values.reshape(len(values), -1)
    return np.stack([rows.min(axis=1), rows.max(axis=1)])


def _has_bins(span: tuple[Any, Any], bins: int) -> bool:
    """Whether floats tell the edges of bins apart; values so close to each other have no outliers."""
    import numpy as np

    edges = np.linspace(*span, bins + 1, dtype=span[1].dtype)
    return span[0] == span[1] or bool((edges[:-1] < edges[1:]).all())


def _limit(bounds: tuple[Any, Any]) -> Any:
    return max(abs(bounds[0]), abs(bounds[1]))


def _by_histogram(
    method: Method, bounds: dict[str, tuple[Any, Any]], counts: dict[str, tuple[Any, Any]]
) -> dict[str, tuple[Any, Any]]:
    from onnxruntime.quantization.calibrate import HistogramCollector

    bins = BINS[method.name]
    # as `create_calibrator` makes it
    collector = HistogramCollector(method.name, method.name == "percentile", bins, 128, method.percentile, "same")
    collector.histogram_dict = {name: (*counts[name], *bounds[name], _limit(bounds[name])) for name in counts}
    with foreign(f"onnxruntime finds no ranges by method {method.name}", "set calibrate.method to minmax"):
        found = collector.compute_collection_result() if counts else {}
    return {name: (low, high) for name, (low, high, *_) in found.items()}


class Watched:
    """The graph with every tensor its nodes read or write as an output."""

    def __init__(self, model: onnx_files.Model, threads: int) -> None:
        import onnx

        ports = onnx_files.inputs_of(model)
        self._inputs = [port.name for port in ports]
        self._fixed_batch = onnx_files.fixed_batch([port.shape for port in ports], "the prepared model")
        self.zeros: dict[str, Any] = {}
        """float tensor -> a zero of its type, once the graph has run"""
        watched = type(model)()
        watched.CopyFrom(model)
        weights = {weight.name for weight in model.graph.initializer}
        named = [name for node in model.graph.node for name in (*node.input, *node.output)]
        self._names = [name for name in dict.fromkeys(named) if name and name not in weights]
        del watched.graph.output[:]
        watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self._names if name not in self._inputs)
        with foreign("onnxruntime cannot load the prepared model", "try simplify.tool: onnxslim, or another opset"):
            self._session = onnx_session.start(watched.SerializeToString(), threads, "as_written")
        self._outputs = [value.name for value in self._session.get_outputs()]

    def affordable(self, taken: Taken) -> int:
        """How many samples may be run at once."""
        each = sum(values.nbytes for _, values in self.values(taken[:1], 1))
        return max(1, MOST_BYTES // max(each, 1))

    def values(self, taken: Taken, size: int, shown: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
        """Each float tensor for each batch of samples (N, *shape), its name first."""
        import numpy as np

        done = 0
        for batch, count in onnx_files.split(taken, size, self._fixed_batch):
            feeds = samples.named(batch, self._inputs, "the prepared model")
            with foreign(
                f"onnxruntime cannot run the prepared model on samples of shape {samples.shapes(taken)}",
                "export the model for samples of that shape, or with a batch of any size",
            ):
                made = self._session.run(self._outputs, feeds)
            found = {**feeds, **dict(zip(self._outputs, made, strict=True))}
            for name in self._names:
                values: Any = found.get(name)
                # others are not quantized: sequences, integers, doubles
                if isinstance(values, np.ndarray) and values.dtype in (np.float32, np.float16):
                    self.zeros[name] = values.dtype.type(0)
                    yield name, values
            done += count
            if shown:
                progress(shown, done, len(taken))
