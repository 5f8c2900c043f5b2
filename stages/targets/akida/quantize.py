"""Lower the graph to Akida's operations, fix the 8-bit scheme, and name every node that cannot be quantized.

The ranges of activations come in `calibrate`. Deterministic: quantizeml's random names are numbered.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity import layer_names
from recast.stages.targets.akida import obstacles
from recast.stages.targets.akida.inputs import Kind, attempt, choose, obstacle, taken_contract
from recast.stages.targets.akida.lowering import lower

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract
    from recast.stages.targets.akida.layout import Layout

# in order of preference where they bring equally many layers into hardware: as stored, nothing is left to prepare
KINDS = (Kind("stored", "uint8"), Kind("normalised", "uint8"), Kind("normalised", "int8"))


def _only(*bits: int | None) -> Callable[[Any], Any]:
    """A check that a number of bits is one of these; its ValueError says why no other can be."""
    there = " or ".join("unset" if one is None else str(one) for one in bits)
    why = "Only default bitwidth qparams is allowed."
    if None in bits:
        why = "Only {None, 8} is allowed as last_output_bits."
    whole = f"quantizeml quantizes ONNX models to nothing else: '{why}'"

    def check(value: Any) -> Any:
        if type(value) is bool or value not in bits:
            raise ValueError(f"must be {there}, not {value}, since {whole}; leave it out")
        return value

    return check


class QuantizeParams(Params):
    """The scheme. For ONNX models quantizeml has 8-bit weights and activations only."""

    weight_bits: Annotated[Literal[8], BeforeValidator(_only(8))] = Field(default=8, description="bits of a weight")
    activation_bits: Annotated[Literal[8], BeforeValidator(_only(8))] = Field(
        default=8, description="bits of an activation"
    )
    buffer_bits: Annotated[Literal[32], BeforeValidator(_only(32))] = Field(default=32, description="bits of a sum")
    last_output_bits: Annotated[Literal[8] | None, BeforeValidator(_only(8, None))] = Field(
        default=None, description="bits of the last layer's output; unset: those of its sums"
    )
    per_tensor_activations: bool = Field(
        default=False, description="one scale per activation tensor, not one per channel"
    )
    input: Literal["auto", "stored", "normalised"] = Field(
        default="auto",
        description=(
            "what the emitted model takes: uint8 samples as stored, the normalisation folded into its first layer; or "
            "normalised floats, which a quantizer in front makes integers; auto maps each on every device and takes "
            "the one that leaves fewest layers to software"
        ),
    )
    input_type: Literal["auto", "uint8", "int8"] = Field(
        default="auto",
        description=(
            "the integers its first layer reads: uint8 needs an ordinary convolution of images there, which the "
            "processor's input unit runs; stored samples are always uint8; auto as for input"
        ),
    )


def run(params: QuantizeParams, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx and the data's contract -> model.onnx (lowered, float) and scheme.json.

    What Akida refuses is rewritten first where that can be (`lowering`); the scheme says what, and how inputs and
    outputs are then laid out. With input "stored", the lowered model takes stored samples (as float32) instead of
    normalised ones. The scheme says of every input that was tried how many layers each device leaves to software.
    Raises StageError naming the nodes that cannot be quantized or converted.
    """
    from recast.stages.common.dataset import read_contract

    contract = read_contract(inputs["data"])
    model = onnx_files.with_constant_weights(onnx_files.read_model(inputs["simplify"] / "model.onnx"))
    onnx_files.require_one_each(model, "akida")
    names, threads = layer_names.of(inputs["export"]), params.resources.cpu
    progress("rewrite what Akida has not")
    made = lower.lower(model, contract.shape, names, threads)
    stored_as_taken = not made.layout.start
    contract = taken_contract(contract, made.layout)
    kinds = [
        kind
        for kind in KINDS
        if params.input in ("auto", kind.values)
        and params.input_type in ("auto", kind.type)
        and not (kind.values == "stored" and (obstacle(contract) or not stored_as_taken))
    ]
    tried = attempt(
        kinds, made.model, contract, params.per_tensor_activations, threads, inputs.scratch, params.last_output_bits
    )
    if not tried:
        raise _impossible(params, contract, made.layout)
    try:
        chosen = choose(tried)
    except StageError as error:
        raise obstacles.explained(error, made.model, made.layout, names) from error
    onnx_files.write_model(chosen.lowered, out / "model.onnx")
    layers = [node.name for node in chosen.lowered.graph.node]
    scheme = {
        **params.model_dump(exclude={"resources"}),
        "input": chosen.kind.values,
        "input_type": chosen.kind.type,
        "layers": layers,
        "layout": made.layout.as_json(),
        "rewritten": made.done,
        "inputs_tried": [{**one.as_json(), "chosen": one is chosen} for one in tried],
    }
    (out / "scheme.json").write_text(json.dumps(scheme, indent=2) + "\n", encoding="utf-8")
    return {
        "nodes": len(layers),
        "rewritten": len(made.done),
        "input": chosen.kind.values,
        "input_type": chosen.kind.type,
        "inputs_tried": len(tried),
    }


def _impossible(params: QuantizeParams, contract: Contract, layout: Layout) -> StageError:
    """Why no kind of input is left to try: only choices of the recipe leave none."""
    if params.input == "stored" and params.input_type == "int8":
        return StageError("stored samples are uint8, not int8", "set quantize.input_type to auto")
    why = "the model does not start with a convolution"
    if params.input == "stored" and layout.start:
        why = "the axes of a sample are laid out anew in front of the first layer"
        return StageError(f"the emitted model cannot take stored samples: {why}", "set quantize.input to auto")
    if params.input == "stored":
        why = obstacle(contract) or f"{why} the normalisation can be folded into"
        return StageError(f"the emitted model cannot take stored samples: {why}", "set quantize.input to auto")
    return StageError(
        f"the first layer cannot read uint8: {why} of images of 1 or 3 channels", "set quantize.input_type to auto"
    )


STAGE = Stage(params=QuantizeParams, inputs=("simplify", "export", "data"), run=run)
