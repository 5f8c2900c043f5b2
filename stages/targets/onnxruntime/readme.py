"""The README of the emitted folder: what the model takes and gives, and how it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recast.stages.tasks import readme_text, task

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract, Input

README = """\
# {dataset}, int8, for onnxruntime

`model.onnx` takes `{input}`, {takes} (N, {shape}), and gives `{output}`, {gives} (N, {outputs}): {meaning}.
{preparation}

```python
import json
import numpy as np
import onnxruntime

contract = json.load(open("input.json"))
taken = contract["inputs"][0]
session = onnxruntime.InferenceSession("model.onnx")
stored = np.zeros((1, *taken["shape"]), taken["stored_dtype"])  # your samples
{prepare}
outputs = session.run(None, {{"{input}": x}})[0]
print({answer})
```
"""
PREPARE = """\
mean, std = (np.reshape(taken[key], {per_channel}) for key in ("mean", "std"))
x = ((stored / taken["divisor"] - mean) / std).astype({dtype})"""
AS_STORED = 'x = stored.astype(taken["dtype"])'

OF_SEVERAL = """\
# {dataset}, int8, for onnxruntime

`model.onnx` takes and gives, N samples at once:

{table}

The wrong normalisation raises no error: it only gives wrong outputs.

```python
import json
import numpy as np
import onnxruntime

contract = json.load(open("input.json"))
session = onnxruntime.InferenceSession("model.onnx")
# your samples
stored = {{one["name"]: np.zeros((1, *one["shape"]), one["stored_dtype"]) for one in contract["inputs"]}}


def prepared(one, samples):
    if not one["dtype"].startswith("float"):
        return samples.astype(one["dtype"])
    axes = (-1,) + (1,) * max(len(one["shape"]) - 1, 0)
    mean, std = (np.reshape(one[key], axes) for key in ("mean", "std"))
    return ((samples / one["divisor"] - mean) / std).astype(one["dtype"])


feeds = {{one["tensor"]: prepared(one, stored[one["name"]]) for one in contract["inputs"]}}
made = dict(zip([one["name"] for one in contract["outputs"]], session.run(None, feeds)))
outputs = made["{judged}"]
print({answer})
```
"""


def readme_of(emitted: Contract, tensor: str) -> str:
    """For an emitted folder of this contract; `tensor`: what the model calls its first input."""
    said = task.of(emitted.task)
    if len(emitted.inputs) > 1 or len(emitted.outputs) > 1:
        return OF_SEVERAL.format(
            dataset=emitted.dataset,
            table=readme_text.table(emitted),
            judged=said.judged_name([one.name for one in emitted.outputs]),
            answer=said.answer("outputs", "contract"),
        )
    (made,) = emitted.outputs
    return README.format(
        **readme_text.fields(emitted, made.shape),
        input=tensor,
        output=made.name,
        gives=made.dtype,
        prepare=_prepare(emitted.only),
    )


def _prepare(taken: Input) -> str:
    if not taken.is_float:
        return AS_STORED
    dtype = "np.float32" if taken.dtype == "float32" else 'taken["dtype"]'
    return PREPARE.format(per_channel=(-1,) + (1,) * max(len(taken.shape) - 1, 0), dtype=dtype)
