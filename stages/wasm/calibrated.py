"""What `emit` is given: the calibrated model with its batch fixed, the contract, and what the result is checked on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages import onnx_files
from stages.base import Inputs, Params, RepositoryPath, StageError
from stages.wasm import check, graph_batch

if TYPE_CHECKING:
    from stages.dataset import Contract

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
    check_random: int = Field(default=8, ge=0, description="random inputs the result is checked on as well")
    kernels: RepositoryPath = Field(description="folder of the compiler's C; a change runs emit again")


@dataclass(frozen=True)
class Calibrated:
    """The model to compile, with a fixed batch."""

    contract: Contract
    scheme: str
    """float32 or int8"""
    model: onnx_files.Model
    checker: check.Checker

    def described(self, batch: int) -> dict[str, Any]:
        """The data's contract, and what the compiled model takes and gives, for input.json."""
        taken, made = (port(self.model, "the model") for port in (onnx_files.only_input, onnx_files.only_output))
        return {
            **asdict(self.contract),
            "layout": {1: "features", 2: "ncl", 3: "nchw"}[len(self.contract.shape)],
            "batch": batch,
            "input": {"name": taken.name, "shape": list(taken.shape), "dtype": "float32"},
            "output": {"name": made.name, "shape": list(made.shape), "dtype": "float32"},
        }


def read(params: CompileParams, inputs: Inputs) -> Calibrated:
    """From calibrate/model.onnx, quantize/scheme.json and the data; StageError if they do not fit each other."""
    from stages import dataset

    contract = dataset.read_contract(inputs["data"])
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))["scheme"]
    model = graph_batch.fix(onnx_files.read_model(inputs["calibrate"] / "model.onnx"), params.batch)
    taken = onnx_files.only_input(model, "the model")
    if taken.shape[1:] != contract.shape or taken.element_type != onnx_files.FLOAT:
        raise StageError(
            f"the model takes {taken.shape[1:]}, and the data has samples of {contract.shape}",
            "give the model float32 samples of the data's shape",
        )
    samples, _ = dataset.read(inputs["data"], "calibration")
    limit = MAX_ERROR[scheme] if params.max_error is None else params.max_error
    checker = check.checker(model, samples[: params.check_samples], params.check_random, limit, params.resources.cpu)
    return Calibrated(contract, scheme, model, checker)
