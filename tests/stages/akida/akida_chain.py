"""The forms that the akida target makes of a model, by the code of its stages, and their comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import dataset, hops
from stages.akida import calibrate, inputs, integer, layers, runtime
from stages.dataset import Contract
from stages.onnx_form import OnnxForm
from stages.parity import Kind


@dataclass(frozen=True)
class Forms:
    """ONNX models, and `akida.Model.to_dict` of the emitted one."""

    simplified: Any
    lowered: Any
    quantized: Any
    emitted: dict[str, Any]
    contract: Contract
    takes: inputs.Values


def forms(simplified: Any, data: Path, takes: inputs.Values, input_type: integer.IntegerType | None = None) -> Forms:
    """As quantize, calibrate and emit make them, calibrated on the calibration samples in `data`."""
    contract = dataset.read_contract(data)
    lowered = inputs.lower(takes, simplified, contract)
    kind = input_type or ("uint8" if inputs.starts_with_image_convolution(lowered, contract) else "int8")
    stored = takes == "stored"
    samples = dataset.read_stored(data, "calibration")[0] if stored else dataset.read(data, "calibration")[0]
    ranges = calibrate.activation_ranges(lowered, samples.astype(np.float32), False, 64, 1)
    if stored:
        ranges[lowered.graph.input[0].name] = calibrate.every_byte(contract)
    made = integer.make_integer(lowered, ranges, kind, False)
    if stored:
        integer.take_stored(made)
    return Forms(simplified, lowered, made, integer.to_akida(made).to_dict(), contract, takes)


def measured(of: Forms, x: NDArray[np.float32]) -> dict[str, hops.Hop]:
    """Each form against the one before, by the later one's name, as `verify` compares them."""
    import akida

    made = akida.Model.from_dict(of.emitted)
    emitted = layers.AkidaForm(
        made,
        runtime.input_of(made),
        of.contract,
        of.contract,
        layers.scales(of.quantized),
        {node.name: node.output[0] for node in of.quantized.graph.node},
        of.lowered.graph.output[0].name,
    )
    steps: list[tuple[str, hops.Form, Kind]] = [
        ("simplified", OnnxForm(of.simplified, 1, "the simplified model"), "float"),
        ("lowered", layers.LoweredForm(of.lowered, 1, "the lowered model", of.contract, of.takes), "float"),
        ("quantized", layers.IntegerForm(of.quantized, 1, "the integer model", of.contract, of.takes), "int8"),
        ("emitted", emitted, "same"),
    ]
    return {hop.after: hop for hop in hops.measure([hops.Step(*step) for step in steps], x, {})}
