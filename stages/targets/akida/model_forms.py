"""What `verify` compares of a model on Akida: its lowered float graph, its integers, and what was emitted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.forms.form import Form, NamedForm
from recast.stages.targets.akida import form, runtime
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.laid_out import LaidOutForm

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract


def of_model(
    quantized: Path,
    calibrated: Path,
    scheme: Mapping[str, Any],
    model: runtime.AkidaModel,
    akida_input: runtime.AkidaInput,
    contracts: tuple[Contract, Contract],
    threads: int,
) -> list[NamedForm]:
    """Of the models that `quantize` and `calibrate` wrote into folders, and the emitted one.

    `contracts`: of the samples, and as the emitted folder has it.
    """
    contract, emitted_contract = contracts
    takes, layout = scheme["input"], layouts.read(scheme["layout"])
    lowered = onnx_files.read_model(quantized / "model.onnx", "the lowered model")
    integers = onnx_files.read_model(calibrated / "model.onnx", "the integer model")
    floats = form.LoweredForm(lowered, threads, "the lowered model", contract, takes, layout.start)
    quantized_form = form.IntegerForm(integers, threads, "the integer model", contract, takes, layout.start)
    emitted = form.AkidaForm(
        model,
        akida_input,
        contract,
        emitted_contract,
        form.scales(integers),
        {node.name: node.output[0] for node in integers.graph.node},
        onnx_files.only_output(lowered, "the lowered model").name,
    )

    def shown(one: Form) -> Form:
        return one if layout.is_plain else LaidOutForm(one, layout)

    return [
        NamedForm("lowered", shown(floats), "float"),
        NamedForm("quantized", shown(quantized_form), "int8"),
        NamedForm("emitted", shown(emitted), "same"),
    ]
