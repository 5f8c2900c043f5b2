"""Compile the emitted workspace, run it on a Cairo VM, and compare it bit for bit with the mirror in integers.

What the VM gives for a few samples must be the mirror's integers exactly. The mirror then stands for the program on all
test samples, in the comparison with the float model that all targets share. It starts from the emitted folder: its
contract, its range and, in what the VM runs, its sources.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Plot, Source, Stage, StageError, progress
from recast.stages.common import shipped_size
from recast.stages.parity.forms.form import NamedForm, OutputOnly
from recast.stages.parity.report import REPORT
from recast.stages.parity.verify import VerifyParams, plots, verify
from recast.stages.targets.cairo.codegen import program_input
from recast.stages.targets.cairo.emit import ARTIFACT
from recast.stages.targets.cairo.form import MirrorForm
from recast.stages.targets.cairo.ir import program
from recast.stages.targets.cairo.passes import interpreter
from recast.stages.targets.cairo.run import fast_vm, profile, toolchain
from recast.stages.targets.cairo.run.execution import Execution
from recast.stages.targets.cairo.syntax.casm import Casm, signed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COSTS = Plot("cost_by_layer.csv", x="layer", y=("steps",), template="bar_horizontal", title="VM steps by layer")

VM = Source("vm", f"{__package__}.run", "csrc")
"""the C of the Cairo VM, which equals StarkWare's step by step"""


class CairoVerifyParams(VerifyParams):
    """How much is run on the Cairo VM, and what it may cost."""

    vm_samples: int = Field(default=8, gt=0, description="test samples run on the Cairo VM, from the first")
    max_steps: int | None = Field(default=None, gt=0, description="most VM steps one inference may take")


def run(params: CairoVerifyParams, inputs: Inputs, out: Path) -> Metrics:
    """emit/, the models before it and the test split -> metrics, cost_by_layer.csv and what `parity.verify` writes.

    Raises StageError if the workspace does not compile or panics, naming the first output that differs from the mirror,
    and for every limit that is missed.
    """
    from recast.stages.common import dataset

    made = program.read(inputs["quantize"])
    folder = program_input.read(inputs["emit"])
    if folder.format != made.format.name:
        raise StageError(f"emit/ is in {folder.format}, quantize/ in {made.format.name}", "run emit again")
    progress("compile")
    casm = toolchain.compile_workspace(inputs["emit"], inputs.scratch / "build")
    stored, _ = dataset.read_stored(inputs["data"], "test")
    vm = fast_vm.build(inputs.sources["vm"], inputs.scratch / "vm")
    progress("run on the Cairo VM")
    executions = _execute(params, casm, vm, folder, made, stored)
    dearest = max(executions, key=lambda one: one.steps)
    layers = profile.by_layer(casm, dearest)
    _write(layers, out / COSTS.file)
    predict = _predictor(folder, made)
    run_on_vm = OutputOnly(
        lambda x: _scores(executions, made)[: len(x)], made.output, "the emitted program on a Cairo VM"
    )
    forms = [
        NamedForm("quantized", MirrorForm(made), "int8"),
        NamedForm("emitted", run_on_vm, "same", samples=min(len(executions), max(1, params.parity_samples - 1))),
    ]
    metrics: dict[str, Any] = verify(params, inputs, out, predict, ARTIFACT, forms)
    metrics |= {
        "size_bytes": shipped_size.size(inputs["emit"], program_input.SHIPS),
        "vm_samples": len(executions),
        "steps": dearest.steps,
        "memory_cells": dearest.memory_cells,
        "range_checks": dearest.range_checks,
        "bitwise": dearest.bitwise,
        "bytecode_felts": casm.bytecode_felts,
        "sierra_felts": casm.sierra_felts,
        "steps_by_layer": {layer: cost.steps for layer, cost in layers.items()},
        "cells_by_layer": {layer: cost.cells for layer, cost in layers.items()},
    }
    if params.max_steps is not None and dearest.steps > params.max_steps:
        raise StageError(
            f"an inference takes {dearest.steps} VM steps, above max_steps {params.max_steps}",
            "use a smaller model, or raise verify.max_steps",
        )
    return metrics


def _execute(
    params: CairoVerifyParams,
    casm: Casm,
    vm: Path,
    folder: program_input.ProgramInput,
    made: program.Program,
    stored: NDArray[Any],
) -> list[Execution]:
    """Run samples on the VM; StageError for the first number that is not the mirror's."""
    if params.vm_samples > len(stored):
        raise StageError(
            f"verify.vm_samples is {params.vm_samples}, but there are {len(stored)} test samples", "lower it"
        )
    raw = folder.raw(stored[: params.vm_samples])
    expected = interpreter.run(made, raw)[made.output].reshape(len(raw), -1)
    executions = fast_vm.run_each(vm, casm, [[*sample.ravel().tolist(), *folder.weights] for sample in raw])
    for index, (execution, wanted) in enumerate(zip(executions, expected, strict=True)):
        found = [signed(felt) for felt in execution.result]
        if found != wanted.tolist():
            at = next((i for i, pair in enumerate(zip(found, wanted.tolist(), strict=False)) if pair[0] != pair[1]), 0)
            raise StageError(
                f"the Cairo program and the mirror differ on test sample {index}: output {at} of {len(wanted)} is "
                f"{found[at] if at < len(found) else 'absent'}, and should be {wanted[at]}",
                "if the sources were not edited, this is a fault of the cairo target",
            )
    return executions


def _predictor(
    folder: program_input.ProgramInput, made: program.Program
) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    import numpy as np

    def predict(stored: NDArray[Any]) -> NDArray[np.float32]:
        found = interpreter.run(made, folder.raw(stored))[made.output]
        return made.format.value(found).astype(np.float32)

    return predict


def _scores(executions: list[Execution], made: program.Program) -> NDArray[Any]:
    """What the VM gave for the first test samples, as floats (n, ...)."""
    import numpy as np

    results = np.array([[signed(felt) for felt in one.result] for one in executions])
    return made.format.value(results.reshape(len(results), *made.shapes[made.output]))


def _write(layers: dict[str, profile.Cost], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("layer", *profile.Cost._fields))
        rows.writerows((layer, *cost) for layer, cost in layers.items())


STAGE = Stage(
    params=CairoVerifyParams,
    inputs=("emit", "quantize", "simplify", "export", "data"),
    run=run,
    sources=(VM,),
    plots=lambda params: (*plots(params), COSTS),
    reports=REPORT,
)
