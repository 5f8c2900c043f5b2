"""Find the range of every activation on the calibration samples, and make the int8 model from them, once.

Deterministic: ranges are found with a fixed number of threads, and onnxruntime's quantizer names what it adds
after the tensors it adds it to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages import onnx_files, onnx_session
from stages.base import Inputs, Metrics, Params, Stage, StageError, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CalibrateParams(Params):
    """How activation ranges are found."""

    method: Literal["minmax", "entropy", "percentile"] = Field(
        default="minmax", description="how a range follows from the values seen, as onnxruntime defines it"
    )
    percentile: float = Field(
        default=99.99, gt=0, le=100, description="per cent of values inside the range, for method percentile"
    )
    samples: int | None = Field(
        default=None, gt=0, description="calibration samples, from the first; none takes all there are"
    )
    batch_size: int = Field(default=64, gt=0, description="samples run at once")


class _Reader:
    """What onnxruntime's calibrators read from: a batch per call, then None."""

    def __init__(self, name: str, batches: Iterator[tuple[NDArray[Any], int]], total: int) -> None:
        self._name, self._batches, self._total, self._done = name, batches, total, 0

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        for batch, count in self._batches:
            self._done += count
            progress("calibrate", self._done, self._total)
            return {self._name: batch}
        return None


def run(params: CalibrateParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/model.onnx, scheme.json and the calibration split -> model.onnx (int8) and ranges.json.

    ranges.json: tensor name -> [lowest, highest]. Raises StageError for too few samples, or NaN in samples or ranges.
    """
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))
    model = onnx_files.read_model(inputs["quantize"] / "model.onnx")
    samples = calibration_samples(inputs["data"], params.samples)
    ranges = _ranges(params, model, samples, inputs.scratch)
    table = {name: _bounds(data) for name, data in sorted(ranges.items())}
    _check(table)
    int8 = _quantize(model, scheme, ranges)
    onnx_files.check(int8, "the int8 model")
    onnx_files.write_model(int8, out / "model.onnx")
    (out / "ranges.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return {"samples": len(samples), "ranges": len(table), "size_bytes": (out / "model.onnx").stat().st_size}


def calibration_samples(data: Path, count: int | None) -> NDArray[np.float32]:
    """The first `count` calibration samples (all of them for None), normalised; StageError if there are fewer."""
    from stages import dataset

    samples, _ = dataset.read(data, "calibration")
    if count is not None and count > len(samples):
        raise StageError(
            f"calibrate.samples is {count}, but there are {len(samples)} calibration samples",
            f"lower calibrate.samples to {len(samples)}, or let the data stage give more",
        )
    return samples[:count]


def _ranges(
    params: CalibrateParams, model: onnx_files.Model, samples: NDArray[np.float32], scratch: Path
) -> dict[str, Any]:
    """Tensor name -> onnxruntime's TensorData."""
    from onnxruntime.quantization import CalibrationMethod, create_calibrator

    methods = {
        "minmax": (CalibrationMethod.MinMax, {}),
        "entropy": (CalibrationMethod.Entropy, {}),
        "percentile": (CalibrationMethod.Percentile, {"percentile": params.percentile}),
    }
    method, extra = methods[params.method]
    # the calibrator writes beside the model it is given
    source = scratch / "model.onnx"
    onnx_files.write_model(model, source)
    augmented = scratch / "augmented.onnx"
    calibrator = create_calibrator(
        source, augmented_model_path=str(augmented), calibrate_method=method, extra_options=extra
    )
    # its own session would use as many threads as the machine has, which changes sums
    calibrator.infer_session = onnx_session.start(augmented, params.resources.cpu, "as_written")
    port = onnx_files.only_input(model, "the prepared model")
    batches = onnx_files.split(samples, params.batch_size, port.shape[0])
    calibrator.collect_data(_Reader(port.name, batches, len(samples)))
    return dict(calibrator.compute_data().items())


def _bounds(data: Any) -> list[float]:
    import numpy as np

    # numbers or arrays of one number, depending on the method
    return [float(np.min(data.lowest)), float(np.max(data.highest))]


def _check(ranges: dict[str, list[float]]) -> None:
    bad = [name for name, bounds in ranges.items() if not all(map(math.isfinite, bounds))]
    if bad:
        raise StageError(
            f"activations hold NaN or infinity on the calibration samples, first in {bad[0]!r}",
            "check the model's weights, and that the data is normalised as in training",
        )


def _quantize(model: onnx_files.Model, scheme: dict[str, Any], ranges: dict[str, Any]) -> onnx_files.Model:
    """The same graph with quantize/dequantize pairs and int8 weights, as `quantize_static` makes it."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    quantized = set(scheme["quantized"])
    quantizer = QDQQuantizer(
        model,
        per_channel=scheme["per_channel"],
        reduce_range=scheme["reduce_range"],
        weight_qType=types[scheme["weight_type"]],
        activation_qType=types[scheme["activation_type"]],
        # only the lowest and highest values matter from here on, whichever method found them
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=scheme["quantized"],
        nodes_to_exclude=scheme["float"],
        op_types_to_quantize=sorted({node.op_type for node in model.graph.node if node.name in quantized}),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model


STAGE = Stage(params=CalibrateParams, inputs=("quantize", "data"), run=run)
