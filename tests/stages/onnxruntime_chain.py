"""The forms that the onnxruntime target makes of a model, by the code of its stages, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import onnx_files
from stages.fused_form import FusedForm
from stages.hops import Hop, Step, measure
from stages.onnx_form import OnnxForm
from stages.onnxruntime import activation_ranges, calibrate, quantize
from stages.parity import Kind
from stages.simplifier import main as simplify

SCHEME = {"per_channel": True, "reduce_range": True, "weight_type": "int8", "activation_type": "uint8"}
KINDS: dict[str, Kind] = {"quantized": "int8", "emitted": "same"}


def step(name: str, model: Any, kind: Kind = "float") -> Step:
    form = FusedForm if name == "emitted" else OnnxForm
    return Step(name, form(model, 1, f"the {name} model"), kind)


def simplified(model: Any, folder: Path, tool: str = "onnxsim") -> Any:
    source, made = folder / "source.onnx", folder / "made.onnx"
    onnx_files.write_model(model, source)
    simplify(tool, str(source), str(made), "-", "-")
    return onnx_files.read_model(made)


def prepared(model: Any, folder: Path) -> Any:
    return quantize._prepare(model, folder)


def int8(
    model: Any,
    folder: Path,
    samples: NDArray[np.float32],
    method: str = "minmax",
    exclude: Sequence[str] = (),
    **scheme: Any,
) -> Any:
    """As the stages quantize and calibrate make it of a prepared model; the nodes to `exclude` stay in float."""
    quantized = quantize._quantizable(quantize.QuantizeParams(nodes_to_exclude=tuple(exclude)), model)
    floats = [one.name for one in model.graph.node if one.name not in quantized]
    params = calibrate.CalibrateParams.model_validate({"method": method})
    how = activation_ranges.Method(params.method, params.percentile)
    ranges = activation_ranges.find(model, samples, how, params.batch_size, threads=1)
    made = {**SCHEME, **scheme, "quantized": quantized, "float": floats}
    return calibrate._quantize(model, made, ranges, samples[:1])


def forms(exported: Any, folder: Path, samples: NDArray[np.float32]) -> dict[str, Any]:
    """Every form from the exported one on, calibrated on the samples; the emitted one is a copy of the quantized."""
    simple = simplified(exported, folder)
    ready = prepared(simple, folder)
    quantized = int8(ready, folder, samples)
    return {"exported": exported, "simplified": simple, "prepared": ready, "quantized": quantized, "emitted": quantized}


def measured(models: dict[str, Any], x: NDArray[np.float32]) -> dict[str, Hop]:
    """Each form against the one before, by the later one's name."""
    steps = [step(name, model, KINDS.get(name, "float")) for name, model in models.items()]
    return {hop.after: hop for hop in measure(steps, x, {})}


def layers_at_fault(hop: Hop) -> tuple[str, ...]:
    return () if hop.blamed is None else (*hop.blamed.covers, hop.blamed.layer)
