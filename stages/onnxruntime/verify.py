"""Run the emitted int8 model in onnxruntime over the test samples and compare it with the float model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import hops, onnx_files
from stages.base import Inputs, Metrics, Stage
from stages.onnx_form import OnnxForm
from stages.onnxruntime.runtime import ARTIFACT, predictor
from stages.parity import Kind
from stages.verify import CONFUSION, VerifyParams, verify

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMS: tuple[tuple[str, str, Kind], ...] = (("prepared", "quantize", "float"), ("quantized", "calibrate", "int8"))
"""what the stages before `emit` make of the model, and what may change in it"""


def run(params: VerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, confusion.csv, parity.json; see `stages.verify`."""
    from stages.dataset import read_contract

    threads = params.resources.cpu
    samples, emitted = read_contract(inputs["data"]), read_contract(inputs["emit"])
    steps = [_step(name, inputs[stage], kind, threads) for name, stage, kind in FORMS if _made(inputs[stage])]
    copied = any(step.name == "quantized" for step in steps)
    # by the contract in the emitted folder, so that a wrong one is seen
    steps.append(
        _step(
            "emitted",
            inputs["emit"],
            "same" if copied else "int8",
            threads,
            lambda x: emitted.normalise(samples.stored(x)),
        )
    )
    return verify(params, inputs, out, predictor(inputs["emit"], threads), ARTIFACT, steps)


def _made(folder: Path) -> bool:
    """Only emit/ is needed: what lies before it shows more of where an error comes from."""
    return (folder / "model.onnx").is_file()


def _step(
    name: str,
    folder: Path,
    kind: Kind,
    threads: int,
    prepare: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> hops.Step:
    what = f"the {name} model"
    return hops.Step(name, OnnxForm(onnx_files.read_model(folder / "model.onnx", what), threads, what, prepare), kind)


STAGE = Stage(
    params=VerifyParams,
    inputs=("emit", "calibrate", "quantize", "simplify", "export", "data"),
    run=run,
    plots=(CONFUSION, hops.ERRORS),
)
