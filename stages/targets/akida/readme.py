"""The README of the emitted folder: how the model is run, where its layers run on each device, and what that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.akida import figures, runtime
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida.places import Mapped, plain
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

`model.py` does this and prepares samples as they are stored; it needs akida and NumPy alone:

```sh
pip install akida=={version} numpy
python model.py samples.npy -o outputs.npy
```
{host}
## What it takes

An inference is {macs:,} multiplications with {weight_bytes:,} bytes of weights.

{figures}

These are what akida states of a virtual device; nothing was measured on a chip. `mapping.json` holds the same.
{places}{inputs}"""

HOST = """
For the host of a board, BrainChip's tool makes C++ of `host.py`: the program of the device, inputs and what it must
give for them, and a function that runs and compares them. On Linux it links with `libakida.so.2` of the package, which
gives the drivers (`akida::get_drivers`); elsewhere with BrainChip's engine (`akida engine deploy`) and a driver of your
own.

```sh
akida generate --fixture-files host.py --dest-path generated
```
"""

FIGURES = {
    "layers_in_hardware": "layers in hardware",
    "layers_in_software": "layers in software, the input's quantizer not counted",
    "device_nps": "neural processors (NPs) of the device",
    "nps": "NPs that run it, over all passes",
    "skip_dmas": "skip DMA channels",
    "sequences": "sequences: the host moves data between two",
    "passes": "passes: the device is set up anew for each",
    "program_bytes": "program, bytes",
    "external_memory_bytes": "external memory for weights, bytes",
    "np_input_bytes": "most that one NP holds of inputs, bytes",
    "np_weight_bytes": "most that one NP holds of weights, bytes",
}

PLACES = """
## Where each layer runs on {device}

{table}
"""

TRIED = """
## What the model takes was chosen

It was mapped with each input on every device, with made-up ranges. Layers left to software, the quantizer of the input
not counted:

{table}
"""


REWRITTEN = """
## Rewritten

Akida has no such layers as the model was made of. They were rewritten, to the same function:

{done}
"""


def text(
    contract: Contract,
    akida_input: runtime.AkidaInput,
    gives: Sequence[int],
    mapped: Sequence[Mapped],
    scheme: Mapping[str, Any],
    is_generated: bool,
) -> str:
    """The README. `gives`: the shape of what akida gives for a sample; `mapped`: on each device, the same model;
    `scheme`: as `quantize` wrote it; `is_generated`: whether host code can be made of the folder."""
    import akida

    version = akida.__version__
    formula = f"(stored / {contract.divisor:g} - mean) / std, mean {list(contract.mean)}, std {list(contract.std)}"
    layers = [figures.of_layer(layer) for layer in mapped[0].model.layers]
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
        version=version,
        host=HOST.format(version=version) if is_generated else "",
        macs=sum(one.macs for one in layers),
        weight_bytes=sum(one.weight_bytes for one in layers),
        figures=figures_by_device([(one.device, one.figures) for one in mapped]),
        places="".join(PLACES.format(device=one.device, table=places_table(one)) for one in mapped),
        inputs=tried_inputs(scheme["inputs_tried"]) + rewritings(scheme["rewritten"]),
    )


def figures_by_device(columns: Sequence[tuple[str, figures.DeviceFigures]]) -> str:
    """A row a figure, a column a device."""
    by_name = [one.as_json() for _, one in columns]
    rows = [f"| {said} | {' | '.join(f'{one[name]:,}' for one in by_name)} |" for name, said in FIGURES.items()]
    return "\n".join([f"| | {' | '.join(name for name, _ in columns)} |", "|---|" + "---|" * len(columns), *rows])


def places_table(mapped: Mapped) -> str:
    """A row a layer."""
    rows = ["| layer | type | runs in | takes | multiplications | weights, bytes | why |", "|---" * 7 + "|"]
    for place, layer in zip(mapped.places, mapped.model.layers, strict=True):
        one = figures.of_layer(layer)
        takes = " + ".join(f"{count} {kind}" for kind, count in one.components.items())
        rows.append(
            f"| {place.layer} | {place.type} | {place.runs_in} | {takes} | {one.macs:,} | {one.weight_bytes:,} "
            f"| {place.reason} |"
        )
    return "\n".join(rows)


def rewritings(done: Sequence[str]) -> str:
    """What was rewritten for Akida; empty if nothing was."""
    return REWRITTEN.format(done="\n".join(f"- {one}" for one in done)) if done else ""


def tried_inputs(tried: Sequence[Mapping[str, Any]]) -> str:
    """What was gained by the choice of the input; empty if there was none."""
    if len(tried) < 2:
        return ""
    names = list(next(one["layers_in_software"] for one in tried if one["chosen"]))
    rows = [f"| input | layers | {' | '.join(names)} |", "|---|---|" + "---|" * len(names)]
    for one in tried:
        kind = f"{one['input']} ({one['input_type']}){', as chosen' if one['chosen'] else ''}"
        if "refused" in one:
            rows.append(f"| {kind} | refused: {plain(one['refused'])} |" + " |" * len(names))
        else:
            counts = " | ".join(_count(one["layers_in_software"][name]) for name in names)
            rows.append(f"| {kind} | {one['layers']} | {counts} |")
    return TRIED.format(table="\n".join(rows))


def _count(in_software: int | None) -> str:
    return "no device takes all" if in_software is None else str(in_software)


def _laid_out(contract: Contract, akida_input: runtime.AkidaInput) -> str:
    """How a sample of the data becomes what the model takes, where that is more than channels last."""
    if not akida_input.start:
        return ""
    last = " and its channels put last" if akida_input.layout == "NHWC" else ""
    steps = layouts.as_python("x", akida_input.start)
    return f"A sample of the data, ({readme_text.axes(contract.shape)}), is laid out by `{steps}`{last}. "
