"""Emit the folder a user of Akida ships: model.fbz, its input contract, and where each layer would run.

Deterministic: cnn2snn writes the same model.fbz for the same integer model.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, Source, Stage, progress
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.akida import (
    devices,
    figures,
    integer_check,
    mapping,
    places,
    quantizeml_steps,
    readme,
    runtime,
)
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.hybrid import emitting, parts

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract


RUNNER = Source("runner", __package__, "runner")
"""what is emitted beside the model, as it is"""


class EmitParams(Params):
    """Which processors the mapping is tried on; model.fbz itself is the same for all of version 2."""

    device: devices.Devices = Field(
        default="SixNodesIPv2",
        description=(
            "a virtual device of akida, version 2; the smallest that runs the whole model, or that does so set up anew "
            "between layers (hwpr: partial reconfiguration); one by the parts that create_device takes; or a list"
        ),
    )
    map_mode: mapping.Mode = Field(
        default="AllNps",
        description=(
            "akida's MapMode: as many processors in as few passes as can be, as many in more passes, or as few "
            "processors"
        ),
    )
    map_constraints: mapping.Constraints = Field(
        default={}, description="akida's MapConstraints: cnp_max_filters, cnp_max_height, cnp_max_width"
    )
    require_hardware: bool = Field(
        default=False, description="fail if any layer but the input's quantizer stays in software, on any device"
    )


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, quantize/scheme.json and the data's contract -> model.fbz, input.json, akida_input.json,
    summary.txt, mapping.json, README.md and model.py, which runs it; where all of it is in hardware host.py as well.

    Of a model in parts: parts.json and each part's file, and no akida_input.json and host.py (`hybrid.emitting`).
    Raises StageError if a node has no counterpart on Akida, if akida computes something else than the integer model,
    or if `require_hardware` is not met.
    """
    from recast.stages.common.dataset import read_contract

    if parts.are_in(inputs["quantize"]):
        return emitting.emit(
            inputs,
            out,
            devices.several(params.device),
            mapping.Way(params.map_mode, params.map_constraints),
            params.require_hardware,
            params.resources.cpu,
            inputs.sources[RUNNER.name],
        )
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))
    progress("convert to Akida")
    integers = onnx_files.read_model(inputs["calibrate"] / "model.onnx")
    model = quantizeml_steps.to_akida(integers)
    lowered = onnx_files.read_model(inputs["quantize"] / "model.onnx", "the lowered model")
    layout = layouts.read(scheme["layout"])
    contract = _described(read_contract(inputs["data"]), lowered, layout)
    with foreign("akida cannot save the model", "report it with the model"):
        model.save(str(out / runtime.ARTIFACT))
    akida_input = runtime.input_of(model, layout)
    contract.write(out)
    akida_input.write(out)
    progress("compare with the integer model")
    integer_check.require(integers, out, inputs["data"], scheme["input"], layout, params.resources.cpu)

    way = mapping.Way(params.map_mode, params.map_constraints)
    wanted = devices.several(params.device)
    mapped = places.on_each(out / runtime.ARTIFACT, wanted, way, scheme, params.require_hardware)
    first, *others = mapped
    (out / "mapping.json").write_text(json.dumps(places.report(mapped, scheme), indent=2) + "\n", encoding="utf-8")
    (out / "summary.txt").write_text("\n".join(places.summary(one) for one in mapped), encoding="utf-8")
    shutil.copyfile(inputs.sources[RUNNER.name] / "model.py", out / "model.py")
    is_generated = akida_input.values == "stored" and not first.software
    if is_generated:
        shutil.copyfile(inputs.sources[RUNNER.name] / "host.py", out / "host.py")
    text = readme.text(contract, akida_input, tuple(model.output_shape), mapped, scheme, is_generated)
    (out / "README.md").write_text(text, encoding="utf-8")
    layers = [figures.of_layer(layer) for layer in first.model.layers]
    return {
        "size_bytes": (out / runtime.ARTIFACT).stat().st_size,
        "layers": len(first.places),
        "input": akida_input.values,
        "macs": sum(one.macs for one in layers),
        "weight_bytes": sum(one.weight_bytes for one in layers),
        **first.figures.as_json(),
        **{f"{name}_on_{one.device}": value for one in others for name, value in one.figures.as_json().items()},
    }


def _described(contract: Contract, lowered: onnx_files.Model, layout: layouts.Layout) -> Contract:
    """The contract, with the output as the user's model gives it."""
    described = onnx_files.described(contract, lowered, "the lowered model")
    if not layout.finish:
        return described
    import numpy as np

    (made,) = described.outputs
    shape = layouts.apply(np.zeros((1, *layout.finish[0][1]), bool), layout.finish).shape[1:]
    return replace(described, outputs=(replace(made, name=layout.output, shape=shape),))


STAGE = Stage(
    params=EmitParams,
    inputs=("calibrate", "quantize", "data"),
    run=run,
    sources=(RUNNER,),
    emits=runtime.ARTIFACT,
    ships=runtime.SHIPS,
)
