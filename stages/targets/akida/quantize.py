"""Lower the graph to Akida's operations, fix the 8-bit scheme, and name every node that cannot be quantized.

The ranges of activations come in `calibrate`. Deterministic: quantizeml's random names are numbered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from recast.stages.common.int8 import equalisation
from recast.stages.common.onnx_models import onnx_files, plain_gemm
from recast.stages.parity import layer_names
from recast.stages.targets.akida import mapping
from recast.stages.targets.akida.devices import VIRTUAL, Devices, several
from recast.stages.targets.akida.hybrid import search
from recast.stages.targets.akida.inputs import Wanted
from recast.stages.targets.akida.prepared import Unsuited, prepare


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
    equalise: bool = Field(
        default=False,
        description="cross-layer equalisation: bring channels together whose weights' ranges lie far apart",
    )
    input: Literal["auto", "stored", "normalised"] = Field(
        default="auto",
        description=(
            "what the emitted model takes: uint8 samples as stored, the normalisation folded into its first layer; or "
            "normalised floats, which a quantizer in front makes integers; auto maps each on `devices` and takes "
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
    devices: Devices = Field(
        default=VIRTUAL,
        description=(
            "those on which auto maps each input, named as in emit.device: where that names others, name them here too"
        ),
    )
    map_constraints: mapping.Constraints = Field(
        default={}, description="akida's MapConstraints by which auto maps each input; name those of emit"
    )
    hybrid: bool = Field(
        default=False, description="leave what Akida has not to onnxruntime, in float, instead of refusing the model"
    )


HYBRID = "set quantize.hybrid to true: onnxruntime then runs what Akida has not, if Akida takes a part"
"""of a model that is refused as a whole"""


def run(params: QuantizeParams, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx and the data's contract -> model.onnx (lowered, float) and scheme.json.

    What Akida refuses is rewritten first where that can be (`lowering`); the scheme says what, and how inputs and
    outputs are then laid out. With input "stored", the lowered model takes stored samples (as float32) instead of
    normalised ones. The scheme says of every input that was tried how many layers each device leaves to software.
    With `equalise`, channels are scaled first, which changes no output. With `hybrid`, a model that Akida cannot
    take as a whole is cut (`hybrid.search`): parts.json, and for each part what its kind needs. Raises StageError
    naming the nodes that cannot be quantized or converted.
    """
    from recast.stages.common.dataset import read_contract

    contract = read_contract(inputs["data"])
    model = onnx_files.with_constant_weights(onnx_files.read_model(inputs["simplify"] / "model.onnx"))
    onnx_files.require_one_each(model, "akida")
    names, threads = layer_names.of(inputs["export"]), params.resources.cpu
    places: dict[str, int] = {}
    if params.equalise:
        model, places = _equalised(model)
        names = {**names, **{f"{tensor}{equalisation.SUFFIX}": layer for tensor, layer in names.items()}}
    # one device as well as several is a list there
    listed = params.model_copy(update={"devices": several(params.devices)})
    stated = listed.model_dump(mode="json", exclude={"resources", "hybrid"})
    wanted = Wanted(
        params.input,
        params.input_type,
        params.per_tensor_activations,
        params.last_output_bits,
        several(params.devices),
        mapping.Way(constraints=params.map_constraints),
    )
    try:
        made = prepare(model, contract, names, wanted, threads, inputs.scratch)
    except Unsuited:
        raise
    except StageError as error:
        if not params.hybrid:
            raise StageError(error.message, *error.remedies, HYBRID) from error
        progress("look for the parts that Akida takes")
        cut = search.search(model, contract, names, wanted, threads, inputs.scratch, error.message)
        if cut.parts is None:
            raise search.none_found(error, cut) from error
        cut.write(out, stated)
        return {**cut.metrics(), **places}
    made.write(out, stated)
    return {**made.metrics(), **places}


def _equalised(model: onnx_files.Model) -> tuple[onnx_files.Model, dict[str, int]]:
    """The same function with its channels equalised, and in how many places that was."""
    import onnx

    # the sizes tell which axis has the channels
    sized = onnx.shape_inference.infer_shapes(model)
    plain_gemm.rewrite(sized)
    return sized, {"places_equalised": equalisation.equalise(sized)}


STAGE = Stage(params=QuantizeParams, inputs=("simplify", "export", "data"), run=run)
