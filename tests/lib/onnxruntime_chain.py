"""The forms that the onnxruntime target makes of a model, by the code of its stages, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.common.int8 import activation_ranges, qdq_model, qdq_scheme
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.comparison import Conversion, measure
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.fused_form import FusedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.metrics import Kind
from recast.stages.targets.onnxruntime import quantize
from recast.stages.trunk.rewrites.simplify_process import main as simplify
from tests.lib.contracts import AGREE
from tests.lib.onnx_models import Workplace, write_data

SCHEME = {"per_channel": True, "reduce_range": True, "weight_type": "int8", "activation_type": "uint8"}
KINDS: dict[str, Kind] = {"quantized": "int8", "emitted": "same"}


def named(name: str, model: Any, kind: Kind = "float") -> NamedForm:
    form = FusedForm if name == "emitted" else OnnxForm
    return NamedForm(name, form(model, 1, f"the {name} model"), kind)


def simplified(model: Any, folder: Path, tool: str = "onnxsim") -> Any:
    source, made = folder / "source.onnx", folder / "made.onnx"
    onnx_files.write_model(model, source)
    simplify(tool, str(source), str(made), "-", "-")
    return onnx_files.read_model(made)


def quantized(root: Path, exported: Any, **scheme: Any) -> Workplace:
    """The stages up to `quantize`, of images and an exported model."""
    write_data(root / "data")
    (root / "simplify").mkdir()
    onnx_files.write_model(exported, root / "simplify" / "model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize", **scheme)
    return work


def prepared(model: Any, folder: Path) -> Any:
    return qdq_scheme.prepare(model, folder)


def int8(
    model: Any,
    folder: Path,
    samples: NDArray[np.float32],
    method: str = "minmax",
    exclude: Sequence[str] = (),
    **scheme: Any,
) -> Any:
    """As the stages quantize and calibrate make it of a prepared model; the nodes to `exclude` stay in float."""
    quantized = qdq_scheme.quantizable(qdq_scheme.QuantizeParams(nodes_to_exclude=tuple(exclude)), model)
    floats = [one.name for one in model.graph.node if one.name not in quantized]
    params = qdq_model.CalibrateParams.model_validate({"method": method})
    how = activation_ranges.Method(params.method, params.percentile)
    ranges = activation_ranges.find(model, samples, how, params.batch_size, threads=1)
    made = {**SCHEME, **scheme, "quantized": quantized, "float": floats}
    return qdq_model.with_pairs(model, made, ranges, samples[:1])


def forms(exported: Any, folder: Path, samples: NDArray[np.float32]) -> dict[str, Any]:
    """Every form from the exported one on, calibrated on the samples; the emitted one is a copy of the quantized."""
    simple = simplified(exported, folder)
    ready = prepared(simple, folder)
    quantized = int8(ready, folder, samples)
    return {"exported": exported, "simplified": simple, "prepared": ready, "quantized": quantized, "emitted": quantized}


def measured(models: dict[str, Any], x: NDArray[np.float32]) -> dict[str, Conversion]:
    """Each form against the one before, by the later one's name."""
    chain = [named(name, model, KINDS.get(name, "float")) for name, model in models.items()]
    return {conversion.after: conversion for conversion in measure(chain, x, {}, agree=AGREE).conversions}


def layers_at_fault(conversion: Conversion) -> tuple[str, ...]:
    return () if conversion.blamed is None else (*conversion.blamed.covers, conversion.blamed.layer)
