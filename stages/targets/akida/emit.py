"""Emit the folder a user of Akida ships: model.fbz, its input contract, and where each layer would run.

Deterministic: cnn2snn writes the same model.fbz for the same integer model.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from recast.stages.base import Inputs, Metrics, Params, Stage, StageError, progress
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.vendor_errors import foreign
from recast.stages.targets.akida import hardware_limits, integer_check, mapping, quantizeml_steps, runtime
from recast.stages.targets.akida import layout as layouts
from recast.stages.tasks import readme_text

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

README = """\
# {dataset}, 8 bits, for BrainChip Akida 2

`model.fbz` takes {values} samples, {dtype} (N, {shape}), {layout}, and gives float32 (N, {outputs}), NHWC,
of which the lines below make (N, {ordered}): {meaning}. {laid_out}{normalisation}
The wrong input raises no error: it only gives wrong outputs.

```python
import json
import akida
import numpy as np

contract = json.load(open("input.json"))
model = akida.Model("model.fbz")  # model.map(device) puts it on hardware
x = np.zeros((1, {shape}), np.{dtype})  # your samples
outputs = {reordered}
print({answer})
```

Where each layer runs on {device}:

{table}
{inputs}"""

TRIED = """
What the model takes was chosen by mapping it with each input on every device, with made-up ranges. Layers left to
software, the quantizer of the input not counted:

{table}
"""


REWRITTEN = """
Akida has no such layers as the model was made of. They were rewritten, to the same function:

{done}
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
    change: str = ""
    """what of the layer to change, so that hardware takes it; empty where the layer itself is not the obstacle"""

    def __str__(self) -> str:
        """For messages."""
        return f"layer '{self.layer}' ({self.type})"


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx, quantize/scheme.json and the data's contract -> model.fbz, input.json, akida_input.json,
    summary.txt, mapping.json and README.md.

    Raises StageError if a node has no counterpart on Akida, if akida computes something else than the integer model,
    or if `require_hardware` is not met.
    """
    from recast.stages.common.dataset import read_contract

    scheme = json.loads((inputs["quantize"] / "scheme.json").read_text(encoding="utf-8"))
    progress("convert to Akida")
    integers = onnx_files.read_model(inputs["calibrate"] / "model.onnx")
    model = quantizeml_steps.to_akida(integers)
    lowered = onnx_files.read_model(inputs["quantize"] / "model.onnx", "the lowered model")
    layout = layouts.read(scheme["layout"])
    contract = _described(read_contract(inputs["data"]), lowered, layout)
    with foreign("akida cannot save the model", "report it with the model"):
        model.save(str(out / runtime.ARTIFACT))
    akida_input = runtime.input_of(model, layout)
    contract.write(out)
    akida_input.write(out)
    progress("compare with the integer model")
    integer_check.require(integers, out, inputs["data"], scheme["input"], layout, params.resources.cpu)

    progress(f"map on {params.device}")
    mapped, places = _map(params, out / runtime.ARTIFACT)
    software = [place for place in places if place.runs_in == "software" and place.type != "Quantizer"]
    if params.require_hardware and software:
        raise _refused(software, params.device)
    tried = scheme["inputs_tried"]
    report = {
        "device": params.device,
        "layers": [asdict(place) for place in places],
        "inputs_tried": tried,
        "rewritten": scheme["rewritten"],
    }
    (out / "mapping.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / "summary.txt").write_text(_summary(mapped), encoding="utf-8")
    (out / "README.md").write_text(
        _readme(
            params,
            contract,
            akida_input,
            tuple(model.output_shape),
            places,
            _tried(tried) + _rewritten(scheme["rewritten"]),
        ),
        encoding="utf-8",
    )
    return {
        "size_bytes": (out / runtime.ARTIFACT).stat().st_size,
        "layers": len(places),
        "layers_in_hardware": sum(place.runs_in == "hardware" for place in places),
        "input": akida_input.values,
    }


def _refused(software: list[Place], device: str) -> StageError:
    """The layers that stand in the way, and what to change of each; those that only follow from them are counted."""
    obstacles = [place for place in software if place.change] or software
    more = len(software) - len(obstacles)
    others = f", and {more} more in software because of {'them' if len(obstacles) > 1 else 'it'}" if more else ""
    changes = [f"for layer '{place.layer}': {place.change}" for place in obstacles if place.change]
    return StageError(
        f"{len(software)} layer{'s' if len(software) > 1 else ''} cannot run on {device}: "
        + "; ".join(f"{place}: {place.reason}" for place in obstacles)
        + others,
        f"in the model, {'; '.join(changes)}"
        if changes
        else "change how these layers are connected, or set emit.device to one with more nodes",
        "set emit.require_hardware to false",
    )


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
            said = obstacles.get(layer.name)
            found = hardware_limits.limits(said) if said else _obstacle_alone(layer, entry, described, device)
            behind = [runtime.layer_type(one) for one in model.layers if layer in one.inbounds]
            if any("Conv" in one for one in behind):
                # a pool is the last layer in hardware only because the convolution behind it is in software
                found = [replace(one, change="") if one == hardware_limits.POOLS else one for one in found]
            reason = "; ".join(dict.fromkeys(one.why for one in found))
            change = "; ".join(dict.fromkeys(one.change for one in found if one.change))
            places.append(Place(layer.name, kind, "software", reason, change))
    return model, places


def _obstacles(path: Path, device: Any) -> dict[str, str]:
    """layer -> why it cannot run in hardware, as far as akida says so for the model as a whole."""
    try:
        runtime.load(path).map(device(), hw_only=True)
    except Exception as error:
        return {name: _plain(why) for name, why in re.findall(r"\* Layer '([^']+)': (.+)", str(error))}
    return {}


def _obstacle_alone(
    layer: Any, entry: Mapping[str, Any], described: Mapping[str, Any], device: Any
) -> list[hardware_limits.Limit]:
    """Why this layer is left to software: what akida says when asked to map it alone."""
    import akida

    kind = runtime.layer_type(layer)
    if kind == "Quantizer":
        return [hardware_limits.Limit("it quantizes the input, which is done in software")]
    if len(entry["inbounds"]) > 1:
        return [hardware_limits.Limit("a layer it adds or joins is in software")]
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
        said = _plain(str(error).removeprefix(f"Cannot map layer '{layer.name}'")) or type(error).__name__
        return hardware_limits.limits(said)
    return [hardware_limits.Limit("it would fit, but the layers around it are in software")]


def _plain(message: str) -> str:
    return " ".join(message.split()).lstrip(".: ")


def _summary(mapped: runtime.AkidaModel) -> str:
    text = io.StringIO()
    # akida prints its summary and cannot be asked for it
    with contextlib.redirect_stdout(text):
        mapped.summary()
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _described(contract: Contract, lowered: onnx_files.Model, layout: layouts.Layout) -> Contract:
    """The contract, with the output as the user's model gives it."""
    described = onnx_files.described(contract, lowered, "the lowered model")
    if not layout.finish:
        return described
    import numpy as np

    (made,) = described.outputs
    shape = layouts.apply(np.zeros((1, *layout.finish[0][1]), bool), layout.finish).shape[1:]
    return replace(described, outputs=(replace(made, name=layout.output, shape=shape),))


def _rewritten(done: Sequence[str]) -> str:
    """What was rewritten for Akida; empty if nothing was."""
    return REWRITTEN.format(done="\n".join(f"- {one}" for one in done)) if done else ""


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


def _laid_out(contract: Contract, akida_input: runtime.AkidaInput) -> str:
    """How a sample of the data becomes what the model takes, where that is more than channels last."""
    if not akida_input.start:
        return ""
    last = " and its channels put last" if akida_input.layout == "NHWC" else ""
    steps = layouts.as_python("x", akida_input.start)
    return f"A sample of the data, ({readme_text.axes(contract.shape)}), is laid out by `{steps}`{last}. "


def _readme(
    params: EmitParams,
    contract: Contract,
    akida_input: runtime.AkidaInput,
    gives: Sequence[int],
    places: list[Place],
    inputs: str,
) -> str:
    formula = f"(stored / {contract.divisor:g} - mean) / std, mean {list(contract.mean)}, std {list(contract.std)}"
    rows = [f"| {place.layer} | {place.type} | {place.runs_in} | {place.reason} |" for place in places]
    return README.format(
        **{**readme_text.fields(contract, gives), "shape": readme_text.axes(akida_input.shape)},
        ordered=readme_text.axes(contract.outputs[0].shape),
        values=akida_input.values,
        dtype=akida_input.dtype,
        layout=akida_input.layout,
        reordered=runtime.reordered("model.predict(x)", contract.outputs[0].shape, akida_input.finish),
        laid_out=_laid_out(contract, akida_input),
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
