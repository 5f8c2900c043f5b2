"""Emit the folder a user of onnxruntime ships: the int8 model, its input contract, and how to run it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError
from recast.stages.common.int8 import float_layers
from recast.stages.common.onnx_models import onnx_files, saturation
from recast.stages.targets.onnxruntime.readme import readme_of
from recast.stages.targets.onnxruntime.runtime import ARTIFACT

MOST_NAMED = 3

EVERYWHERE = """\

The scores are the same on x86 processors with VNNI and without: that no sum of two products can leave 16 bits, whatever
the input, was proven from the weights. Layers in float may differ in their last digits. ARM was not tried.
"""
NOT_EVERYWHERE = """\

**On x86 processors without VNNI this model may give other scores.** There onnxruntime adds two products in 16 bits, and
what lies beyond is cut off. It can happen in:

{nodes}
The session option `session.x64quantprecision` set to `1` mends it where the second operand is a weight.
"""


class EmitParams(Params):
    """Whether the model may depend on the processor; there is nothing else to choose."""

    allow_saturation: bool = Field(
        default=False,
        description="emit a model whose sums of two products may leave 16 bits: on x86 without VNNI it gives other "
        "scores",
    )


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx and the data's contract -> model.onnx, input.json and README.md.

    Raises StageError if the model is damaged, and names the nodes that may saturate, unless that is allowed.
    """
    from recast.stages.common.dataset import read_contract

    contract = read_contract(inputs["data"])
    model = onnx_files.read_model(inputs["calibrate"] / "model.onnx")
    kept = float_layers.keep(model)
    saturating = saturation.products(model)
    if saturating and not params.allow_saturation:
        raise _refused(saturating)
    emitted = onnx_files.described(contract, model, "the int8 model")
    readme = readme_of(emitted, onnx_files.inputs_of(model)[0].name)
    nodes = "".join(f"- {product}\n" for product in saturating)
    readme += NOT_EVERYWHERE.format(nodes=nodes) if saturating else EVERYWHERE
    if kept:
        onnx_files.check(model, "the int8 model")
        onnx_files.write_model(model, out / ARTIFACT)
    else:
        shutil.copyfile(inputs["calibrate"] / "model.onnx", out / ARTIFACT)
    emitted.write(out)
    (out / "README.md").write_text(readme, encoding="utf-8")
    return {
        "size_bytes": (out / ARTIFACT).stat().st_size,
        "opset": onnx_files.opset(model),
        "nodes_that_may_saturate": len(saturating),
        "layers_between_integers_in_float": kept,
    }


def _refused(saturating: Sequence[saturation.Product]) -> StageError:
    shown = "; ".join(str(product) for product in saturating[:MOST_NAMED])
    more = f"; and {len(saturating) - MOST_NAMED} more" if len(saturating) > MOST_NAMED else ""
    mends = []
    if not all(product.of_activations for product in saturating):
        mends.append("leave quantize.reduce_range unset or set it to true")
    if any(product.of_activations for product in saturating):
        mends.append("set quantize.activation_type to uint8")
    return StageError(
        "on x86 processors without VNNI the model would give other scores: two products can add up to more than 16 "
        f"bits hold in {shown}{more}",
        f"{' and '.join(mends)}, or set emit.allow_saturation to true",
    )


STAGE = Stage(params=EmitParams, inputs=("calibrate", "data"), run=run, emits=ARTIFACT)
