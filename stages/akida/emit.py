"""Emit the folder a user of Akida ships: model.fbz, its input contract, and where each layer would run.

Deterministic: cnn2snn writes the same model.fbz for the same integer model.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages import onnx_files
from stages.akida import integer, mapping, runtime, same_integers
from stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from stages.foreign import foreign

if TYPE_CHECKING:
    from stages.dataset import Contract

README = """\
# {dataset}, 8 bits, for BrainChip Akida 2

`model.fbz` takes {values} samples, {dtype} (N, {shape}), {layout}, and gives float32 (N, 1, 1, {classes}):
one score per class, in the order of `classes` in `input.json`. {normalisation}
The wrong input raises no error: it only gives wrong classes.

```python
import json
import akida
import numpy as np

contract = json.load(open("input.json"))
model = akida.Model("model.fbz")  # model.map(device) puts it on hardware
x = np.zeros((1, {shape}), np.{dtype})  # your samples
scores = model.predict(x).reshape(len(x), -1)
print([contract["classes"][i] for i in scores.argmax(axis=1)])
```

Where each layer runs on {device}:

{table}
{inputs}"""

TRIED = """
What the model takes was chosen by mapping it with each input on every device, with made-up ranges. Layers left to
software, the quantizer of the input not counted:

{table}
"""


class EmitParams(Params):
    """Which processor the mapping is tried on; model.fbz itself is the same for all Akida 2 processors."""

    device: mapping.Device = Field(
        default="SixNodesIPv2", description="a virtual device of akida, version 2 of the processor"
    )
    require_hardware: bool = Field(
        default=False, description="fail if any layer but the input's quantizer stays in software"
    )


@dataclass(frozen=True)
class Place:
    """Where one layer runs, and why not in hardware if it does not."""

    layer: str
    type: str
    runs_in: Literal["hardware", "software"]
    reason: str = ""


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, quantize/scheme.json and the data's contract -> model.fbz, input.json, akida_input.json,
    summary.txt, mapping.json and README.md.

    Raises StageError if a node has no counterpart on Akida, if akida computes something else than the integer model,
    or if `require_hardware` is not met.
    """
    from stages.dataset import read_contract

    contract = read_contract(inputs["data"])
    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))
    progress("convert to Akida")
    integers = onnx_files.read_model(inputs["calibrate"] / "model.onnx")
    model = integer.to_akida(integers)
    with foreign("akida cannot save the model", "report it with the model"):
        model.save(str(out / runtime.ARTIFACT))
    akida_input = runtime.input_of(model)
    contract.write(out)
    akida_input.write(out)
    progress("compare with the integer model")
    same_integers.require(integers, out, inputs["data"], scheme["input"], params.resources.cpu)

    progress(f"map on {params.device}")
    mapped, places = _map(params, out / runtime.ARTIFACT)
    software = [place for place in places if place.runs_in == "software" and place.type != "Quantizer"]
    if params.require_hardware and software:
        raise StageError(
            f"{len(software)} layers cannot run on {params.device}: "
            + "; ".join(f"{place.layer} ({place.type}): {place.reason}" for place in software),
            "change these layers in the model, or set emit.require_hardware to false",
        )
    tried = scheme["inputs_tried"]
    report = {"device": params.device, "layers": [asdict(place) for place in places], "inputs_tried": tried}
    (out / "mapping.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / "summary.txt").write_text(_summary(mapped), encoding="utf-8")
    (out / "README.md").write_text(_readme(params, contract, akida_input, places, _tried(tried)), encoding="utf-8")
    return {
        "size_bytes": (out / runtime.ARTIFACT).stat().st_size,
        "layers": len(places),
        "layers_in_hardware": sum(place.runs_in == "hardware" for place in places),
        "input": akida_input.values,
    }


def _map(params: EmitParams, path: Path) -> tuple[runtime.AkidaModel, list[Place]]:
    """The model mapped on the virtual device (it can no longer predict), and where each layer runs."""
    model = mapping.mapped(path, params.device)
    hardware = mapping.in_hardware(model)
    device = mapping.virtual(params.device)
    obstacles = _obstacles(path, device)
    described = model.to_dict()
    places = []
    for layer, entry in zip(model.layers, described["layers"], strict=True):
        kind = runtime.layer_type(layer)
        if layer.name in hardware:
            places.append(Place(layer.name, kind, "hardware"))
        else:
            reason = obstacles.get(layer.name) or _obstacle_alone(layer, entry, described, device)
            places.append(Place(layer.name, kind, "software", reason))
    return model, places


def _obstacles(path: Path, device: Any) -> dict[str, str]:
    """layer -> why it cannot run in hardware, as far as akida says so for the model as a whole."""
    try:
        runtime.load(path).map(device(), hw_only=True)
    except Exception as error:
        return {name: _plain(why) for name, why in re.findall(r"\* Layer '([^']+)': (.+)", str(error))}
    return {}


def _obstacle_alone(layer: Any, entry: Mapping[str, Any], described: Mapping[str, Any], device: Any) -> str:
    """Why this layer is left to software: what akida says when asked to map it alone."""
    import akida

    kind = runtime.layer_type(layer)
    if kind == "Quantizer":
        return "it quantizes the input, which is done in software"
    if len(entry["inbounds"]) > 1:
        return "a layer it adds or joins is in software"
    try:
        model = {**described, "layers": []}
        if entry["inbounds"] and kind != "InputConv2D":
            alone = akida.Model()
            alone.add(akida.InputData(input_shape=tuple(layer.input_dims), input_bits=8, name="input_of_the_layer"))
            model = alone.to_dict()
        inbounds = [one["name"] for one in model["layers"]]
        model["layers"] = [*model["layers"], {**entry, "inbounds": inbounds}]
        akida.Model.from_dict(model).map(device(), hw_only=True)
    except Exception as error:
        return _plain(str(error).removeprefix(f"Cannot map layer '{layer.name}'")) or type(error).__name__
    return "it would fit, but the layers around it are in software"


def _plain(message: str) -> str:
    message = " ".join(message.split()).lstrip(".: ")
    if "cannot be the last layer" in message:
        # it is last only because the next one is in software
        return "it pools, so it needs the layer after it in hardware too"
    return message


def _summary(mapped: runtime.AkidaModel) -> str:
    text = io.StringIO()
    # akida prints its summary and cannot be asked for it
    with contextlib.redirect_stdout(text):
        mapped.summary()
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _tried(tried: list[dict[str, Any]]) -> str:
    """What was gained by the choice of the input; empty if there was none."""
    if len(tried) < 2:
        return ""
    rows = [f"| input | layers | {' | '.join(mapping.DEVICES)} |", "|---|---|" + "---|" * len(mapping.DEVICES)]
    for one in tried:
        kind = f"{one['input']} ({one['input_type']}){', as chosen' if one['chosen'] else ''}"
        if "refused" in one:
            rows.append(f"| {kind} | refused: {_plain(one['refused'])} |" + " |" * len(mapping.DEVICES))
        else:
            counts = " | ".join(str(one["layers_in_software"][device]) for device in mapping.DEVICES)
            rows.append(f"| {kind} | {one['layers']} | {counts} |")
    return TRIED.format(table="\n".join(rows))


def _readme(
    params: EmitParams, contract: Contract, akida_input: runtime.AkidaInput, places: list[Place], inputs: str
) -> str:
    formula = f"(stored / {contract.divisor:g} - mean) / std, mean {list(contract.mean)}, std {list(contract.std)}"
    rows = [f"| {place.layer} | {place.type} | {place.runs_in} | {place.reason} |" for place in places]
    return README.format(
        dataset=contract.dataset,
        values=akida_input.values,
        dtype=akida_input.dtype,
        shape=", ".join(map(str, akida_input.shape)),
        layout=akida_input.layout,
        classes=len(contract.classes),
        normalisation=(
            "Its first layer normalises them; give it no floats."
            if akida_input.values == "stored"
            else f"Normalised means `{formula}`."
        ),
        device=params.device,
        table="\n".join(["| layer | type | runs in | why |", "|---|---|---|---|", *rows]),
        inputs=inputs,
    )


STAGE = Stage(params=EmitParams, inputs=("calibrate", "quantize", "data"), run=run, emits=runtime.ARTIFACT)
