"""Find the range of every activation on the calibration samples, and make the int8 model (QDQ) from them, once.

The `calibrate` of every target that takes onnxruntime's int8.

Deterministic: ranges are found with a fixed number of threads, and onnxruntime's quantizer names what it adds
after the tensors it adds it to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, StageError
from recast.stages.common.int8 import activation_ranges, bias_correction, weight_rounding
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken
from recast.stages.common.vendor_errors import foreign


class CalibrateParams(Params):
    """How activation ranges are found."""

    method: Literal["minmax", "mean", "entropy", "percentile"] = Field(
        default="minmax",
        description="how a range follows from the values seen, as onnxruntime defines it; mean: the means over samples "
        "of each one's lowest and highest value",
    )
    percentile: float = Field(
        default=99.99, gt=0, le=100, description="per cent of values inside the range, for method percentile"
    )
    samples: int | None = Field(
        default=None, gt=0, description="calibration samples, from the first; none takes all there are"
    )
    bias_correction: bool = Field(
        default=False, description="put into biases what rounding takes from the means of layers' outputs"
    )
    weight_rounding: Literal["nearest", "gptq"] = Field(
        default="nearest",
        description="weights to the nearest integers, or to those that GPTQ finds, by which layers' outputs on the "
        "calibration samples change least",
    )
    batch_size: int = Field(default=64, gt=0, description="samples run at once")


def calibrate(params: CalibrateParams, inputs: Inputs, out: Path) -> Metrics:
    """quantize/model.onnx, scheme.json and the calibration split -> model.onnx (int8) and ranges.json.

    ranges.json: tensor name -> [lowest, highest]. Raises StageError for too few samples, or NaN in samples or ranges.
    """
    from recast.stages.common import dataset

    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))
    model = onnx_files.read_model(inputs["quantize"] / "model.onnx")
    contract, (stored, _) = dataset.read_contract(inputs["data"]), dataset.read_samples(inputs["data"], "calibration")
    taken = dataset.taken_one_by_one(contract, stored, "calibration")
    few = dataset.first(stored, params.samples, "calibrate.samples")
    if len(few) < len(taken):
        taken = dataset.taken_one_by_one(contract, few, "calibration")
    method = activation_ranges.Method(params.method, params.percentile)
    ranges = activation_ranges.find(model, taken, method, params.batch_size, params.resources.cpu)
    table = {name: [float(low), float(high)] for name, (low, high) in sorted(ranges.items())}
    int8 = with_pairs(model, scheme, ranges, taken[:1])
    changed, learned = {}, {}
    if params.weight_rounding == "gptq":
        learned = weight_rounding.learn(
            model, int8, weight_bounds(scheme), taken, params.batch_size, params.resources.cpu
        )
        changed["weights_rounded_otherwise"] = len(learned)
        weight_rounding.put(int8, learned)
    if params.bias_correction:
        corrected, count = bias_correction.correct(model, int8, taken, params.batch_size, params.resources.cpu)
        changed["biases_corrected"] = count
        int8 = with_pairs(corrected, scheme, ranges, taken[:1])
        weight_rounding.put(int8, learned)
    onnx_files.check(int8, "the int8 model")
    onnx_files.write_model(int8, out / "model.onnx")
    (out / "ranges.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return {
        "samples": len(taken),
        "ranges": len(table),
        **changed,
        "size_bytes": (out / "model.onnx").stat().st_size,
    }


def weight_bounds(scheme: dict[str, Any]) -> tuple[int, int]:
    """The lowest and the highest integer that the quantizer makes of weights."""
    from onnx import TensorProto
    from onnxruntime.quantization.quant_utils import get_qmin_qmax_for_qType

    signed = scheme["weight_type"] == "int8"
    kind = TensorProto.INT8 if signed else TensorProto.UINT8
    low, high = get_qmin_qmax_for_qType(kind, reduce_range=scheme["reduce_range"], symmetric=signed)
    return int(low), int(high)


def with_pairs(
    model: onnx_files.Model, scheme: dict[str, Any], ranges: dict[str, Any], sample: Taken
) -> onnx_files.Model:
    """The same graph with quantize/dequantize pairs and int8 weights, which onnxruntime has run on the sample.

    Raises StageError naming the nodes it fails at.
    """
    kinds = {node.name: node.op_type for node in model.graph.node}
    names = list(scheme["quantized"])
    try:
        return _paired(model, scheme, ranges, names, sample)
    except StageError as error:
        failing = {name: said for name in names if (said := _failure(model, scheme, ranges, name, sample))}
        if not failing:
            raise
        raise StageError(
            "onnxruntime cannot make int8 of "
            + "; ".join(f"node {name!r} ({kinds[name]}): {said}" for name, said in failing.items()),
            f"leave them in float: set quantize.nodes_to_exclude to {json.dumps(list(failing), ensure_ascii=False)}",
            *(["try one scale for each weight: set quantize.per_channel to false"] if scheme["per_channel"] else []),
        ) from error


def _failure(model: onnx_files.Model, scheme: dict[str, Any], ranges: dict[str, Any], name: str, sample: Taken) -> str:
    """What the quantizer says, or the runtime, if this is the only node to quantize; empty if both can."""
    try:
        _paired(model, scheme, ranges, [name], sample)
    except StageError as error:
        return error.message.partition(": ")[2]
    return ""


def _paired(
    model: onnx_files.Model,
    scheme: dict[str, Any],
    ranges: dict[str, Any],
    names: list[str],
    sample: Taken,
) -> onnx_files.Model:
    """As `quantize_static` makes it, of a copy; `names` are the nodes to quantize. Run once on the sample."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = type(model)()
    copy.CopyFrom(model)
    data = {name: TensorData(lowest=low, highest=_open(low, high)) for name, (low, high) in ranges.items()}
    types = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    with foreign("onnxruntime cannot make the model int8", "shorten what is quantized, with quantize.nodes_to_exclude"):
        quantizer = QDQQuantizer(
            copy,
            per_channel=scheme["per_channel"],
            reduce_range=scheme["reduce_range"],
            weight_qType=types[scheme["weight_type"]],
            activation_qType=types[scheme["activation_type"]],
            # only the lowest and highest values matter from here on, whichever method found them
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=names,
            nodes_to_exclude=[node.name for node in model.graph.node if node.name not in names],
            op_types_to_quantize=sorted({node.op_type for node in model.graph.node if node.name in names}),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made: onnx_files.Model = quantizer.model.model
    # the quantizer makes pairs of some nodes for which the runtime, which fuses them, has no kernel
    onnx_files.Session(made, 1, "the int8 model", "as_shipped").run(sample)
    return made


def _open(low: Any, high: Any) -> Any:
    """The highest value, or 1 where all are zero: the quantizer drops a Relu, and a range of zero keeps nothing."""
    return high if low or high else high.dtype.type(1)
