"""The README of the emitted folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recast.stages.targets.cairo.run.toolchain import CAIRO_VERSION
from recast.stages.tasks import readme_text

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract
    from recast.stages.targets.cairo.codegen.emission import Emission

README = """\
# {dataset} in Cairo, {format}

A Scarb workspace: the model in fixed point, with nothing to edit and no dependency outside this folder. `main` in
`src/lib.cairo` computes the model's output for the sample in `src/input.cairo`, and returns it as an array of felts.

```sh
python prepare_input.py digit.png      # or samples.npz, or --base64 TENSORPROTO: writes src/input.cairo
scarb build
```

Recast's verify stage compiles it with Cairo {version} and runs it on a Cairo VM. The sources keep to what later
versions of Cairo accept as well; they may warn of functions that have newer names.

| file | holds |
|---|---|
| `src/input.cairo` | the input: {size} numbers{and_weights}; at first, a calibration sample |
| `src/inference.cairo` | `main(data)`: one layer after the other |
| `src/functions.cairo` | the layers, as calls of one function for each row of their output |
| `crates/layerN/src/weights.cairo`, `bias.cairo` | the sums of layer N, with its weights as constants |
| `crates/{crate}` | the fixed-point functions that the model uses |
| `crates/tensor` | the rows that tensors are made of |
| `prepare_input.py` | writes `src/input.cairo`, or `--output calldata.json`; needs numpy, for images pillow |
| `input.json`, `fixed_point.json` | what the input is, as stored and as integers |

## Numbers

A number v is the felt `round(v * {one})`; negative numbers are the field's (`P - n` stands for `-n`). The output is
read the same way: {size_out} numbers, of shape ({outputs}): {meaning}.

{preparation} Every number of the input must lie
between {low:g} and {high:g} (raw {raw_low} to {raw_high}); the program checks that and panics otherwise. For inputs
in that range no sum can overflow: Recast's calibrate stage has proven it.
{weights_note}
## Sums

Sums of weights and inputs are exact; each is rounded once, to the nearest, ties towards plus infinity. A felt holds
the sums of several outputs, each in a slot of its own bits, so that one product adds to all of them:

| layer | nodes | slots of a felt |
|---|---|---|
{layers}
"""

WEIGHTS_NOTE = """
Weights of {layers} are no constants: they follow the input in the call data, as `weights.json` holds them. Whoever
checks a proof must compare them, since the program takes any.
"""


def readme(emission: Emission, contract: Contract) -> str:
    """The text for an emission."""
    program = emission.program
    bounds = emission.bounds[program.input]
    low, high = int(bounds.low.min()), int(bounds.high.max())
    passed = [one.layer.crate for one in emission.written if one.layer.call_data]
    rows = [
        f"| {one.layer.crate or one.layer.name} | {', '.join(one.nodes)} | {one.layer.slots_text or '–'} |"
        for one in emission.written
    ]
    return README.format(
        **readme_text.fields(contract, program.shapes[program.output]),
        format=program.format.name,
        version=CAIRO_VERSION,
        size=program.size(program.input),
        and_weights=f" and {len(emission.call_data())} weights" if passed else "",
        crate=program.format.name.lower(),
        one=program.format.one,
        size_out=program.size(program.output),
        low=low / program.format.one,
        high=high / program.format.one,
        raw_low=low,
        raw_high=high,
        weights_note=WEIGHTS_NOTE.format(layers=", ".join(passed)) if passed else "",
        layers="\n".join(rows),
    )
