"""Emit a model in parts: each part's file, how they follow one another, one runner and one contract.

Deterministic, as each part's conversion is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import Inputs, Metrics, StageError, progress
from recast.stages.common import shipped_size
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.akida import devices, figures, integer_check, mapping, places, quantizeml_steps, runtime
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.form import IntegerForm
from recast.stages.targets.akida.hybrid import front, readme
from recast.stages.targets.akida.hybrid import parts as parts_of
from recast.stages.targets.akida.hybrid.chain import OnAkida
from recast.stages.targets.akida.hybrid.parts import SCHEME, Part, Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.common.dataset import Contract


def emit(
    inputs: Inputs,
    out: Path,
    wanted: Sequence[devices.Device],
    way: mapping.Way,
    require_hardware: bool,
    threads: int,
    runner: Path,
) -> Metrics:
    """quantize/parts.json and calibrate/ -> parts.json, model.fbz and other files of parts, input.json, mapping.json,
    summary.txt, README.md and model.py, which runs them all.

    Raises StageError as `emit` does of a whole model; with `require_hardware` always, since a part is in ONNX.
    """
    from recast.stages.common.dataset import read_contract

    cut = parts_of.read(inputs["quantize"])
    if require_hardware:
        raise _left(cut)
    of_data = read_contract(inputs["data"])
    stored, x = _samples(inputs["data"])
    inner = front.values(inputs["quantize"], cut, x, threads)
    converted: dict[str, OnAkida] = {}
    mapped: dict[str, list[places.Mapped]] = {}
    schemes: dict[str, Any] = {}
    for part in cut.akida:
        progress(f"convert {part.name} to Akida")
        schemes[part.name] = json.loads((inputs["quantize"] / part.name / SCHEME).read_text(encoding="utf-8"))
        given = (stored, x) if part.reads[0] == cut.input else (inner[part.reads[0]], inner[part.reads[0]])
        integers = onnx_files.read_model(inputs["calibrate"] / part.name / "model.onnx")
        converted[part.name] = _converted(part, cut, integers, schemes[part.name], of_data, given, threads, out)
        mapped[part.name] = places.on_each(out / part.file, wanted, way, schemes[part.name])
    for part in cut.onnx:
        shutil.copyfile(inputs["quantize"] / part.file, out / part.file)
    contract = _described(of_data, cut, inputs["quantize"])
    contract.write(out)
    cut.write(out, {name: one.as_json() for name, one in converted.items()})
    joined = [
        (str(device), figures.joined([mapped[part.name][index].figures for part in cut.akida]))
        for index, device in enumerate(wanted)
    ]
    report = _report(cut, mapped, schemes, joined)
    (out / "mapping.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    summaries = [f"{name}\n\n{places.summary(one)}" for name, of in mapped.items() for one in of]
    (out / "summary.txt").write_text("\n".join(summaries), encoding="utf-8")
    shutil.copyfile(runner / "model.py", out / "model.py")
    (out / "README.md").write_text(readme.text(contract, cut, mapped, schemes, joined), encoding="utf-8")
    layers = [figures.of_layer(layer) for of in mapped.values() for layer in of[0].model.layers]
    (_, first), *others = joined
    return {
        "size_bytes": shipped_size.size(out, runtime.SHIPS),
        "layers": sum(len(of[0].places) for of in mapped.values()),
        "input": "stored" if any(one.input.values == "stored" for one in converted.values()) else "normalised",
        "macs": sum(one.macs for one in layers),
        "weight_bytes": sum(one.weight_bytes for one in layers),
        **first.as_json(),
        **{f"{name}_on_{device}": value for device, one in others for name, value in one.as_json().items()},
        **cut.metrics(),
    }


def _samples(data: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """The first calibration samples, stored and normalised."""
    from recast.stages.common import dataset

    stored = dataset.read_stored(data, "calibration")[0][: integer_check.SAMPLES]
    return stored, dataset.taken(dataset.read_contract(data), stored, "calibration")


def _converted(
    part: Part,
    cut: Parts,
    integers: onnx_files.Model,
    scheme: Mapping[str, Any],
    of_data: Contract,
    given: tuple[NDArray[Any], NDArray[Any]],
    threads: int,
    out: Path,
) -> OnAkida:
    """The part's file, once akida computes of the samples `given`, stored and normalised, what its integers do."""
    model, layout = quantizeml_steps.to_akida(integers), layouts.read(scheme["layout"])
    with foreign("akida cannot save the model", "report it with the model"):
        model.save(str(out / part.file))
    akida_input = runtime.input_of(model, layout)
    gives = layout.finish[0][1] if layout.finish else cut.shapes[part.gives[0]]
    made = OnAkida(runtime.load(out / part.file), akida_input, gives)
    contract = cut.contract_of(part, of_data)
    form = IntegerForm(integers, threads, f"the integers of {part.name}", contract, scheme["input"], layout.start)
    progress(f"compare {part.name} with its integers")
    integer_check.require_same(form, given[1], made.run(*given), layout, f"outputs of {part.file}")
    return made


def _described(of_data: Contract, cut: Parts, quantized: Path) -> Contract:
    """The contract, with the output as the user's model gives it."""
    from recast.stages.common.dataset import Output

    dtype = "float32"
    for part in cut.onnx:
        if cut.output in part.gives:
            ports = onnx_files.outputs_of(onnx_files.read_model(quantized / part.file))
            dtype = next(onnx_files.dtype_of(port) for port in ports if port.name == cut.output)
    return replace(of_data, outputs=(Output(cut.output, cut.shapes[cut.output], dtype),))


def _report(
    cut: Parts,
    mapped: Mapping[str, Sequence[places.Mapped]],
    schemes: Mapping[str, Mapping[str, Any]],
    joined: Sequence[tuple[str, figures.DeviceFigures]],
) -> dict[str, Any]:
    """For mapping.json: the figures of all, each part by itself, and what they hand on."""
    (device, first), *others = joined
    return {
        "device": device,
        "figures": first.as_json(),
        "others": [{"device": name, "figures": one.as_json()} for name, one in others],
        "reason": cut.reason,
        **cut.metrics(),
        "parts": [
            {
                "name": part.name,
                "kind": part.kind,
                "nodes": part.nodes,
                "macs": part.macs,
                **(places.report(mapped[part.name], schemes[part.name]) if part.kind == "akida" else {}),
            }
            for part in cut.parts
        ],
        "transfer": [
            {"tensor": tensor, "from": maker, "to": reader, "bytes": size}
            for tensor, maker, reader, size in cut.transfers
        ],
    }


def _left(cut: Parts) -> StageError:
    """What stays in ONNX, where all must be in hardware."""
    nodes = [node for part in cut.onnx for node in part.nodes]
    shown = ", ".join(nodes[:5]) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")
    return StageError(
        f"{len(nodes)} node{'s' if len(nodes) > 1 else ''} of the model stay{'s' if len(nodes) == 1 else ''} in ONNX, "
        f"and all must be in hardware: {shown}; {cut.reason}",
        "set emit.require_hardware to false",
        "set quantize.hybrid to false, to be told what to change of the model",
    )
