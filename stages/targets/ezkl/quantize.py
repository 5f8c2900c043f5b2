"""Fix the model's batch and write EZKL's settings: scales, visibility and decomposition.

Deterministic: the settings are made canonical (`recast.stages.targets.ezkl.circuit.settings`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from recast.stages.base import Inputs, Metrics, Params, Stage, progress
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.onnx_models.called import called
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.circuit.network import (
    one_sample,
    with_dense_kernels,
    with_strides,
    without_idle_bounds,
)
from recast.stages.targets.ezkl.circuit.refusal import first_refused
from recast.stages.targets.ezkl.keys import licence
from recast.stages.targets.ezkl.keys.local_store import local_store
from recast.stages.targets.ezkl.process.calls import Ezkl, EzklError

Visibility = Literal["private", "public", "hashed", "polycommit"]
WeightVisibility = Literal["private", "fixed", "hashed", "polycommit"]
Name = Annotated[str, Field(min_length=1)]
Size = Annotated[int, Field(ge=1, strict=True)]
REFUSED = {
    "fixed": "a circuit with a fixed input or output would hold for that one alone: choose private, public, hashed or "
    "polycommit",
    "public": "EZKL has no public weights: choose fixed, which makes them part of the circuit",
    "hashed/public": "write it as hashed",
    "hashed/private": "EZKL 23.0.5 computes no such input, makes no keys for such weights, and publishes the hash of "
    "such scores all the same: choose hashed, or private",
}
"""what EZKL's words stand for that a recipe cannot have, and what to choose"""


class QuantizeParams(Params):
    """EZKL's run arguments; a circuit computes in integers, which are numbers times 2^scale."""

    input_visibility: Visibility = Field(default="private", description="who sees the input")
    output_visibility: Visibility = Field(default="public", description="who sees the scores")
    param_visibility: WeightVisibility = Field(
        default="fixed", description="fixed: the weights are part of the circuit"
    )
    variables: dict[Name, Size] = Field(
        default={"batch_size": 1}, description="sizes of the input's axes that the model names; the batch is one sample"
    )
    input_scale: int | None = Field(
        default=None,
        ge=0,
        le=30,
        description="bits after the binary point of inputs; unset: none if all calibration samples are whole numbers, "
        "else 7",
    )
    param_scale: int = Field(default=7, ge=0, le=30, description="bits after the binary point of weights")
    decomp_base: int | None = Field(
        default=None, ge=2, le=2**20, description="base numbers are taken apart in; unset: calibrate chooses"
    )
    decomp_legs: int | None = Field(default=None, ge=1, le=32, description="digits a number is taken apart into")
    num_inner_cols: int | None = Field(
        default=None, ge=1, le=64, description="columns that one block of the circuit is wide; unset: calibrate chooses"
    )
    scale_rebase_multiplier: int = Field(default=1, ge=1, description="how far a scale may grow before it is reduced")
    lookup_range: tuple[int, int] = Field(default=(-32768, 32768), description="of lookups, until calibrate finds it")
    logrows: int = Field(default=17, ge=6, le=26, description="rows as a power of two, until calibrate finds it")
    rebase_frac_zero_constants: bool = Field(default=False, description="reduce the scale of whole constants")
    check_mode: Literal["unsafe", "safe"] = Field(default="unsafe", description="safe checks EZKL's own computations")
    bounded_log_lookup: bool = Field(default=False, description="bound the lookups of logarithms")
    ignore_range_check_inputs_outputs: bool = Field(default=False, description="leave the ends' ranges unchecked")
    epsilon: float = Field(default=2.220446049250313e-16, gt=0, description="added where a division by zero threatens")
    disable_freivalds: bool = Field(default=False, description="check products term by term, not at a random point")

    @field_validator("input_visibility", "output_visibility", "param_visibility", mode="before")
    @classmethod
    def _possible(cls, word: object, info: ValidationInfo) -> object:
        allowed = get_args(WeightVisibility if info.field_name == "param_visibility" else Visibility)
        # "hashed/private/0" names the input that the hash would be
        known = "hashed/private" if isinstance(word, str) and word.startswith("hashed/private") else str(word)
        if word not in allowed and known in REFUSED:
            raise ValueError(REFUSED[known])
        return word

    @model_validator(mode="after")
    def _consistent(self) -> QuantizeParams:
        if (self.decomp_base is None) != (self.decomp_legs is None):
            raise ValueError("decomp_base and decomp_legs go together: give both or none")
        if self.lookup_range[0] >= self.lookup_range[1]:
            raise ValueError("lookup_range is [lowest, highest]")
        if self.variables.get("batch_size", 1) != 1:
            raise ValueError("variables: batch_size is 1, as a proof is about one sample")
        shown = (self.input_visibility, self.output_visibility, self.param_visibility)
        if not {"public", "hashed", "polycommit"} & set(shown):
            raise ValueError(
                "nothing is public, hashed or polycommit, so a proof would say nothing: set one visibility to public"
            )
        return self

    @property
    def run_arguments(self) -> dict[str, Any]:
        """As EZKL names them; without those that calibrate chooses."""
        given = {name: value for name, value in self.model_dump(exclude={"resources"}).items() if value is not None}
        return {**given, "variables": sorted(({"batch_size": 1} | self.variables).items())}


def run(params: QuantizeParams, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx -> network.onnx (a batch of one), settings.json and run_arguments.json.

    Raises StageError for a model EZKL cannot make a circuit of.
    """
    import json

    licence.show_once(local_store(out), progress)
    what = "the simplified model"
    model = onnx_files.read_model(inputs["simplify"] / "model.onnx", what)
    onnx_files.require_one_each(model, "ezkl")
    model = one_sample(onnx_files.with_constant_weights(model), what, params.variables)
    model = without_idle_bounds(with_dense_kernels(with_strides(model)))
    onnx_files.write_model(model, out / settings.NETWORK)
    written = inputs.scratch / settings.FILE
    ezkl = Ezkl(inputs.scratch, params.resources.cpu)
    try:
        _write_settings(params, ezkl, out / settings.NETWORK, written)
    except EzklError as error:
        raise _refused(params, ezkl, model, error, written) from error
    found = settings.read(written)
    found.write(out / settings.FILE)
    (out / "run_arguments.json").write_text(json.dumps(params.run_arguments, indent=2) + "\n", encoding="utf-8")
    return {"rows": found.rows, "opset": onnx_files.opset(model)}


def _write_settings(params: QuantizeParams, ezkl: Ezkl, network: Path, written: Path) -> None:
    ezkl("gen_settings", model=str(network), output=str(written), py_run_args=params.run_arguments)


def _refused(params: QuantizeParams, ezkl: Ezkl, model: onnx_files.Model, error: EzklError, written: Path) -> EzklError:
    """What EZKL says, of the node that it says it of."""
    kinds = ", ".join(sorted({node.op_type for node in model.graph.node}))
    where = f"the model ({kinds})"
    if error.kind in ("refused", "panic"):
        progress("look for the layer that EZKL refuses")
        network = written.with_name("part.onnx")

        def make(part: onnx_files.Model) -> None:
            onnx_files.write_model(part, network)
            _write_settings(params, ezkl, network, written)

        found = first_refused(model, error, make)
        # a part may be refused for how it ends, which is another reason
        if found and _without_numbers(found[1].said) == _without_numbers(error.said):
            where, error = called(found[0]), found[1]
    return EzklError(
        f"EZKL makes no circuit of {where}: {error.said or error.message}",
        [
            "set export.opset to 12 for this target",
            "use operations that EZKL has",
            "give sizes in quantize.variables that fit",
        ],
        error.kind,
        error.said,
    )


def _without_numbers(said: str) -> str:
    return re.sub(r"\d+", "", said)


STAGE = Stage(params=QuantizeParams, inputs=("simplify",), run=run)
