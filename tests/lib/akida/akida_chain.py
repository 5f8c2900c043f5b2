"""The forms that the akida target makes of a model, by the code of its stages, and their comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recast.stages.common import dataset
from recast.stages.common.dataset import Contract
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity import comparison
from recast.stages.parity.forms.form import Form, NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.metrics import Kind
from recast.stages.targets.akida import inputs, integers, quantizeml_steps, runtime
from recast.stages.targets.akida.form import AkidaForm, IntegerForm, LoweredForm, scales
from recast.stages.targets.akida.layout import Layout
from tests.lib.contracts import AGREE


@dataclass(frozen=True)
class Forms:
    """ONNX models, and `akida.Model.to_dict` of the emitted one."""

    simplified: Any
    lowered: Any
    quantized: Any
    emitted: dict[str, Any]
    contract: Contract
    takes: quantizeml_steps.Values


def forms(
    simplified: Any, data: Path, takes: quantizeml_steps.Values, input_type: quantizeml_steps.IntegerType | None = None
) -> Forms:
    """As quantize, calibrate and emit make them, calibrated on the calibration samples in `data`."""
    contract = dataset.read_contract(data)
    lowered = inputs.lower(takes, simplified, contract)
    kind = input_type or ("uint8" if inputs.starts_with_image_convolution(lowered, contract) else "int8")
    stored = takes == "stored"
    samples = dataset.read_stored(data, "calibration")[0] if stored else dataset.read(data, "calibration")[0]
    made, _ = integers.integer_model(lowered, samples, contract, integers.Scheme(takes, kind, False), 64, 1)
    return Forms(simplified, lowered, made, quantizeml_steps.to_akida(made).to_dict(), contract, takes)


def measured(of: Forms, x: NDArray[np.float32]) -> dict[str, comparison.Conversion]:
    """Each form against the one before, by the later one's name, as `verify` compares them."""
    import akida

    made = akida.Model.from_dict(of.emitted)
    described = onnx_files.described(of.contract, of.lowered, "the lowered model")
    emitted = AkidaForm(
        made,
        runtime.input_of(made, Layout(of.contract.shape)),
        of.contract,
        described,
        scales(of.quantized),
        {node.name: node.output[0] for node in of.quantized.graph.node},
        of.lowered.graph.output[0].name,
    )
    chain: list[tuple[str, Form, Kind]] = [
        ("simplified", OnnxForm(of.simplified, 1, "the simplified model"), "float"),
        ("lowered", LoweredForm(of.lowered, 1, "the lowered model", of.contract, of.takes), "float"),
        ("quantized", IntegerForm(of.quantized, 1, "the integer model", of.contract, of.takes), "int8"),
        ("emitted", emitted, "same"),
    ]
    found = comparison.measure([NamedForm(*form) for form in chain], x, {}, agree=AGREE).conversions
    return {conversion.after: conversion for conversion in found}
