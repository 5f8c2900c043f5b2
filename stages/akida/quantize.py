"""Lower the graph to Akida's operations, fix the 8-bit scheme, and name every node that cannot be quantized.

The ranges of activations come in `calibrate`. Deterministic: quantizeml's random names are numbered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from stages import onnx_files
from stages.akida import integer
from stages.akida.calibrate import activation_ranges
from stages.base import Inputs, Metrics, Params, Stage, StageError, progress

if TYPE_CHECKING:
    from stages.dataset import Contract

IMAGE_CHANNELS = (1, 3)  # what the hardware's input convolution takes


class QuantizeParams(Params):
    """The scheme. For ONNX models quantizeml has 8-bit weights and activations only."""

    weight_bits: Literal[8] = Field(default=8, description="bits of a weight")
    activation_bits: Literal[8] = Field(default=8, description="bits of an activation")
    per_tensor_activations: bool = Field(
        default=False, description="one scale per activation tensor, not one per channel"
    )
    input: Literal["auto", "stored", "normalised"] = Field(
        default="auto",
        description=(
            "what the emitted model takes: uint8 samples as stored, the normalisation folded into its first layer, "
            "so that all of it can run in hardware; or normalised floats, which software quantizes first"
        ),
    )


def run(params: QuantizeParams, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx and the data's contract -> model.onnx (lowered, float) and scheme.json.

    With input "stored", the lowered model takes stored samples (as float32) instead of normalised ones.
    Raises StageError naming the nodes that cannot be quantized or converted.
    """
    from stages.dataset import read_contract

    contract = read_contract(inputs["data"])
    model = onnx_files.with_constant_weights(onnx_files.read_model(inputs["simplify"] / "model.onnx"))
    progress("lower the graph")
    lowered, takes = _lower(params, model, contract)
    input_type: integer.IntegerType = "uint8" if _starts_with_image_convolution(lowered, contract) else "int8"
    _check(params, lowered, contract, takes, input_type)
    onnx_files.write_model(lowered, out / "model.onnx")
    layers = [node.name for node in lowered.graph.node]
    scheme = {**params.model_dump(exclude={"resources"}), "input": takes, "input_type": input_type, "layers": layers}
    (out / "scheme.json").write_text(json.dumps(scheme, indent=2) + "\n", encoding="utf-8")
    return {"nodes": len(layers), "input": takes, "input_type": input_type}


def _lower(params: QuantizeParams, model: onnx_files.Model, contract: Contract) -> tuple[onnx_files.Model, str]:
    """The lowered model, and whether it takes samples "stored" or "normalised"."""
    if params.input == "normalised":
        return integer.lower(model, contract.shape), "normalised"
    obstacle = ""
    if contract.stored_dtype != "uint8":
        obstacle = f"samples are stored as {contract.stored_dtype}, not uint8"
    elif len(contract.shape) != 3 or contract.shape[0] not in IMAGE_CHANNELS:
        obstacle = f"samples of shape {contract.shape} are no images of 1 or 3 channels"
    else:
        folded = integer.lower(_with_normalisation(model, contract), contract.shape)
        if _starts_with_image_convolution(folded, contract):
            return folded, "stored"
        obstacle = "the model does not start with a convolution the normalisation can be folded into"
    if params.input == "stored":
        raise StageError(f"the emitted model cannot take stored samples: {obstacle}", "set quantize.input to auto")
    return integer.lower(model, contract.shape), "normalised"


def _with_normalisation(model: onnx_files.Model, contract: Contract) -> onnx_files.Model:
    """The model with `(stored / divisor - mean) / std` in front, as the scale and offset quantizeml folds."""
    import numpy as np
    import onnx

    std = np.asarray(contract.std, np.float64).reshape(1, -1, 1, 1)
    mean = np.asarray(contract.mean, np.float64).reshape(1, -1, 1, 1)
    copy = type(model)()
    copy.CopyFrom(model)
    name = onnx_files.only_input(model, "the simplified model").name
    scale, offset, scaled, normalised = (f"recast_normalise_{part}" for part in ("scale", "offset", "scaled", "out"))
    for node in copy.graph.node:
        for index, source in enumerate(node.input):
            if source == name:
                node.input[index] = normalised
    front = [
        onnx.helper.make_node("Mul", [name, scale], [scaled], name=scaled),
        onnx.helper.make_node("Add", [scaled, offset], [normalised], name=normalised),
    ]
    nodes = [*front, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(
        onnx.numpy_helper.from_array(value.astype(np.float32), of)
        for of, value in ((scale, 1 / (contract.divisor * std)), (offset, -mean / std))
    )
    return copy


def _starts_with_image_convolution(lowered: onnx_files.Model, contract: Contract) -> bool:
    """Whether the first operation is an ordinary convolution of an image, which takes unsigned inputs."""
    nodes = [node for node in lowered.graph.node if node.op_type != "BRNPad"]
    if len(lowered.graph.node) - len(nodes) > 1 or nodes[0].op_type != "Conv":
        return False
    groups = next((attribute.i for attribute in nodes[0].attribute if attribute.name == "group"), 1)
    first = lowered.graph.node[0]
    begins = first.input[0] == lowered.graph.input[0].name and first.op_type in ("BRNPad", "Conv")
    return begins and groups == 1 and contract.shape[0] in IMAGE_CHANNELS


def _check(
    params: QuantizeParams,
    lowered: onnx_files.Model,
    contract: Contract,
    takes: str,
    input_type: integer.IntegerType,
) -> None:
    """Go all the way to Akida with made-up ranges: what fails here fails whatever the samples are."""
    import numpy as np

    random = np.random.default_rng(0)
    shape = (8, *contract.shape)
    noise = random.uniform(0, 255, shape) if takes == "stored" else random.normal(0, 1, shape)
    progress("look for nodes that cannot be quantized")
    ranges = activation_ranges(
        lowered, noise.astype(np.float32), params.per_tensor_activations, 8, params.resources.cpu
    )
    made = integer.make_integer(lowered, ranges, input_type, params.per_tensor_activations)
    integer.to_akida(made)


STAGE = Stage(params=QuantizeParams, inputs=("simplify", "data"), run=run)
