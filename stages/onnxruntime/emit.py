"""Emit the folder a user of onnxruntime ships: the int8 model, its input contract, and how to run it."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages import onnx_files
from stages.base import Inputs, Metrics, Params, Stage
from stages.onnxruntime.runtime import ARTIFACT

README = """\
# {dataset}, int8, for onnxruntime

`model.onnx` takes `{input}`, float32 (N, {shape}), and gives `{output}`, float32 (N, {classes}): one score per
class, in the order of `classes` in `input.json`. A stored sample becomes its input as
`(stored / {divisor:g} - mean) / std`, with mean {mean} and std {std} per channel (the first axis).
The wrong normalisation raises no error: it only gives wrong classes.

```python
import json
import numpy as np
import onnxruntime

contract = json.load(open("input.json"))
session = onnxruntime.InferenceSession("model.onnx")
stored = np.zeros((1, *contract["shape"]), np.{dtype})  # your samples
mean, std = (np.reshape(contract[key], {per_channel}) for key in ("mean", "std"))
x = ((stored / contract["divisor"] - mean) / std).astype(np.float32)
scores = session.run(None, {{"{input}": x}})[0]
print([contract["classes"][i] for i in scores.argmax(axis=1)])
```
"""


class EmitParams(Params):
    """Nothing to choose: the int8 model is the artifact."""


def run(params: EmitParams, inputs: Inputs, out: Path) -> Metrics:
    """calibrate/model.onnx and the data's contract -> model.onnx, input.json and README.md.

    Raises StageError if the model is damaged or has more than one input or output.
    """
    from stages.dataset import read_contract

    contract = read_contract(inputs["data"])
    model = onnx_files.read_model(inputs["calibrate"] / "model.onnx")
    readme = README.format(
        dataset=contract.dataset,
        input=onnx_files.only_input(model, "the int8 model").name,
        output=onnx_files.only_output(model, "the int8 model").name,
        shape=", ".join(map(str, contract.shape)),
        classes=len(contract.classes),
        divisor=contract.divisor,
        mean=list(contract.mean),
        std=list(contract.std),
        dtype=contract.stored_dtype,
        per_channel=(-1,) + (1,) * (len(contract.shape) - 1),
    )
    shutil.copyfile(inputs["calibrate"] / "model.onnx", out / ARTIFACT)
    contract.write(out)
    (out / "README.md").write_text(readme, encoding="utf-8")
    return {"size_bytes": (out / ARTIFACT).stat().st_size, "opset": onnx_files.opset(model)}


STAGE = Stage(params=EmitParams, inputs=("calibrate", "data"), run=run, emits=ARTIFACT)
