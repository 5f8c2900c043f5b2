"""What a target's `emit` gives our compiler of ONNX to C: the calibrated model with its batch fixed.

With it come the contract, and what the result is checked on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import Inputs, Params, StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.compilers import equivalence, fixed_batch, index_bounds

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

_HALF = "float16"
MAX_ERROR = {"float32": 1e-3, "int8": 5e-2}


class CompileParams(Params):
    """How the model is compiled, and how close the result must come to onnxruntime."""

    batch: int = Field(default=1, ge=1, description="samples that are computed at once")
    max_error: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="largest error of a score against onnxruntime, relative to the largest score; "
        "unset: 0.001, for int8 0.05, since values halfway between two steps may round either way",
    )
    check_samples: int = Field(default=8, ge=1, description="calibration samples the result is checked on")
    check_random: int = Field(
        default=8,
        ge=0,
        description="random inputs, within what the calibration samples hold, that the result is checked on as well",
    )


@dataclass(frozen=True)
class EmitInputs:
    """The model to compile, with a fixed batch."""

    contract: Contract
    """of what is compiled: inputs and outputs in the order of its arguments"""
    scheme: str
    """float32 or int8"""
    model: onnx_files.Model
    checker: equivalence.Checker

    def described(self, batch: int) -> dict[str, Any]:
        """The contract, and between which indices values of an input must lie, for input.json."""
        said = self.contract.as_json()
        for one in said["inputs"]:
            bounds = index_bounds.of(self.model, one["tensor"])
            if bounds is not None:
                one["bounds"] = list(bounds)
        return {**said, "batch": batch}

    def readme(self, batch: str) -> dict[str, str]:
        """What the READMEs of compiled models say, for `str.format`; `batch`: how the first axis is called."""
        from recast.stages.tasks import readme_text, task

        holds = ("shape", "type", *(("normalisation",) if any(one.is_float for one in self.contract.inputs) else ()))
        named = ", and the names of its classes" if self.contract.classes else ""
        alike = {"dataset": self.contract.dataset, "contract_holds": ", ".join(holds) + named}
        if not self.contract.is_single:
            said = task.of(self.contract.task)
            judged = said.judged_name([one.name for one in self.contract.outputs])
            return {
                **alike,
                "table": readme_text.table(self.contract),
                "judged": judged,
                "answer": said.answer("outputs", "contract"),
                "bounds": self._indices().strip(),
            }
        taken, (made,) = self.contract.only, self.contract.outputs
        return {
            **alike,
            **readme_text.fields(self.contract, made.shape),
            "gives": made.dtype,
            "given": _shape(batch, taken.shape),
            "made": _shape(batch, made.shape),
            "prepared": "prepared" if taken.is_float else "as stored",
            "bounds": self._indices(),
        }

    def _indices(self) -> str:
        """Between which indices an input's values must lie, in a sentence for each."""
        found = [(one, index_bounds.of(self.model, one.tensor)) for one in self.contract.inputs]
        return "".join(
            f" Each value{'' if self.contract.is_single else f' of `{one.name}`'} is an index from 0 to {bounds[1]}; "
            "a negative one counts from the end."
            for one, bounds in found
            if bounds is not None
        )


def _shape(batch: str, shape: Sequence[int | None]) -> str:
    return f"({batch}, {', '.join(map(str, shape))})" if shape else f"({batch},)"


def read(params: CompileParams, inputs: Inputs) -> EmitInputs:
    """From calibrate/model.onnx, quantize/scheme.json and the data; StageError if they do not fit each other."""
    from recast.stages.common import dataset

    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))["scheme"]
    model = fixed_batch.fix(onnx_files.read_model(inputs["calibrate"] / "model.onnx"), params.batch)
    contract = compiled_contract(dataset.read_contract(inputs["data"]), model)
    for taken, one in zip(onnx_files.inputs_of(model), contract.inputs, strict=True):
        if taken.shape[1:] != one.shape or onnx_files.dtype_of(taken) != one.dtype:
            raise StageError(
                f"the model takes {onnx_files.dtype_of(taken)} {taken.shape[1:]}"
                f"{'' if contract.is_single else f' as {taken.name}'}, and the data gives {one.dtype} {one.shape}",
                "give the model samples of the data's shape and type",
            )
    stored, _ = dataset.read_samples(inputs["data"], "calibration")
    samples = dataset.taken(contract, stored, "calibration")
    limit = MAX_ERROR[scheme] if params.max_error is None else params.max_error
    checker = equivalence.checker(
        model,
        samples,
        params.check_samples,
        params.check_random,
        limit,
        params.resources.cpu,
        is_float=scheme == "float32",
    )
    return EmitInputs(contract, scheme, model, checker)


def compiled_contract(data: Contract, model: onnx_files.Model) -> Contract:
    """The data's contract as that of what is compiled of `model`, which `fixed_batch.fix` has made.

    Inputs are in the order of the arguments, float16 ones float32. An input that the model does not read is left out.
    """
    wide = tuple(
        replace(
            one,
            dtype="float32" if one.dtype == _HALF else one.dtype,
            stored_dtype="float32" if one.stored_dtype == _HALF else one.stored_dtype,
        )
        for one in data.inputs
    )
    ports = [port.name for port in onnx_files.inputs_of(model)]
    described = onnx_files.described(replace(data, inputs=wide), model, "the model")
    by_port = {one.tensor or ports[0]: replace(one, tensor=one.tensor or ports[0]) for one in described.inputs}
    return replace(described, inputs=tuple(by_port[name] for name in ports))
