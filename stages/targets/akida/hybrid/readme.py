"""The README of an emitted folder that holds a model in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.akida import figures, readme
from recast.stages.targets.akida.hybrid.parts import Parts
from recast.stages.targets.akida.places import Mapped
from recast.stages.tasks import readme_text

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

README = """\
# {dataset}, in parts: 8 bits for BrainChip Akida 2, and float for onnxruntime

Akida does not take this model as a whole: {reason}

So it is cut into {count} parts, which run one after the other; what each reads, the one before it or an earlier one
gives. `parts.json` says how. The parts on Akida hold {on_akida} of the model's {nodes} nodes and {share:.1%} of its
multiplications; the others are float ONNX.

{parts}

`model.py` runs them all and needs akida, onnxruntime and NumPy alone:

```python
import json
import numpy as np
from model import Model

contract = json.load(open("input.json"))
stored = np.zeros((1, {shape}), np.{stored})  # your samples, as they are stored
outputs = Model().predict(stored)
print({answer})
```

```sh
pip install akida=={akida} onnxruntime=={onnxruntime} numpy
python model.py samples.npy -o outputs.npy
```

It takes stored samples, {stored} (N, {shape}), and gives {given} (N, {outputs}): {meaning}. {preparation}
`Model(device=akida.devices()[0])` maps the parts on Akida on a chip; where they are several, each just before it runs.
On a chip that was not tried.

## What goes between them

{transfer}

In all, {transfer_bytes:,} bytes of a sample go to or from Akida, counted as float32, which is how `model.py` hands them
on. A part on Akida makes bytes of what it reads, and floats of what it gives.

## What the parts on Akida take

An inference of them is {macs:,} multiplications with {weight_bytes:,} bytes of weights. Each part was mapped by itself.
Of neural processors, skip DMA channels and what one processor holds, the largest part's is shown; of the rest the sum.

{figures}

These are what akida states of a virtual device; nothing was measured on a chip. `mapping.json` holds the same.
{places}"""


def text(
    contract: Contract,
    cut: Parts,
    mapped: Mapping[str, Sequence[Mapped]],
    schemes: Mapping[str, Mapping[str, Any]],
    joined: Sequence[tuple[str, figures.DeviceFigures]],
) -> str:
    """The README. `mapped`: part -> it on each device; `joined`: of all parts, by device."""
    import akida
    import onnxruntime

    counted = cut.metrics()
    layers = [figures.of_layer(layer) for of in mapped.values() for layer in of[0].model.layers]
    (made,) = contract.outputs
    return README.format(
        **{
            **readme_text.fields(contract, made.shape),
            "reason": cut.reason,
            "count": len(cut.parts),
            "on_akida": counted["nodes_on_akida"],
            "nodes": counted["nodes_on_akida"] + counted["nodes_in_onnx"],
            "share": counted["macs_share_on_akida"],
            "parts": _parts(cut),
            "stored": contract.stored_dtype,
            "given": made.dtype,
            "akida": akida.__version__,
            "onnxruntime": onnxruntime.__version__,
            "transfer": _transfer(cut),
            "transfer_bytes": counted["transfer_bytes"],
            "macs": sum(one.macs for one in layers),
            "weight_bytes": sum(one.weight_bytes for one in layers),
            "figures": readme.figures_by_device(joined),
            "places": "".join(_of_part(name, of, schemes[name]) for name, of in mapped.items()),
        }
    )


def _parts(cut: Parts) -> str:
    rows = ["| part | runs in | reads | gives | nodes | multiplications |", "|---" * 6 + "|"]
    for part in cut.parts:
        runs_in = "akida" if part.kind == "akida" else "onnxruntime"
        read, given = (", ".join(_with_shape(name, cut) for name in names) for names in (part.reads, part.gives))
        rows.append(f"| `{part.file}` | {runs_in} | {read} | {given} | {'; '.join(part.nodes)} | {part.macs:,} |")
    return "\n".join(rows)


def _with_shape(name: str, cut: Parts) -> str:
    return f"`{name}` (N, {readme_text.axes(cut.shapes[name])})"


def _transfer(cut: Parts) -> str:
    rows = ["| tensor | from | to | bytes |", "|---" * 4 + "|"]
    rows += [f"| `{tensor}` | {maker} | {reader} | {size:,} |" for tensor, maker, reader, size in cut.transfers]
    return "\n".join(rows)


def _of_part(name: str, mapped: Sequence[Mapped], scheme: Mapping[str, Any]) -> str:
    """Where its layers run, and what was done for it."""
    places = "".join(
        readme.PLACES.format(device=f"{one.device}: `{name}.fbz`", table=readme.places_table(one)) for one in mapped
    )
    return places + readme.tried_inputs(scheme["inputs_tried"]) + readme.rewritings(scheme["rewritten"])
