"""The files of the emitted folder that are the same for every model, or nearly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recast.stages.base import Source

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract

MODULE = "model.wasm"
PLAIN_MODULE = "model.nosimd.wasm"
COPIED = ("model.js", "model.d.ts", "model.py", "package.json")
"""as they lie in the clients' folder"""
CLIENTS = Source("clients", __package__, "clients")

ARRAYS = {
    **{"float32": "Float32Array", "bool": "Uint8Array", "int64": "BigInt64Array", "uint64": "BigUint64Array"},
    **{f"int{bits}": f"Int{bits}Array" for bits in (8, 16, 32)},
    **{f"uint{bits}": f"Uint{bits}Array" for bits in (8, 16, 32)},
}
"""dtype -> JavaScript's array of it"""

README = """\
# {dataset}, {scheme}, as WebAssembly

| file | is |
|---|---|
| `model.wasm` | the model, weights inside, {size} bytes; needs SIMD, which browsers have had since 2023 |
| `model.nosimd.wasm` | the same without SIMD, {plain_size} bytes |
| `model.js`, `model.d.ts` | an ES module for browsers and Node, with types; it takes the module that runs |
| `package.json` | tells Node that the folder is an ES module |
| `model.py` | a client for Python, with wasmtime and NumPy |
| `index.html` | a page that runs the model on {page_takes}; it needs no server: open the file |
| `input.json` | what the model takes and gives: {contract_holds} |
| `report.json` | engine ({engine}), kernels, sizes, and the error against onnxruntime |

{usage}

Input of a wrong type, length or shape, or {refused}, is refused with an error that says what is needed.

## Without a client

The module imports nothing. It exports `memory`, {addresses},
and `run()`, which computes the outputs from the inputs and gives 0.
"""
SINGLE = """\
The model takes {takes} {given} and gives {gives} {made}: {meaning}.
{preparation}{bounds}
Any number of samples may be given; the module computes {batch} at once.

```js
import {{ load }} from "./model.js";

const model = await load();
const outputs = model.predict(model.normalise(stored)); // {array}; one sample after another, row-major
model.predictTensorProto(base64); // the same for a base64 ONNX TensorProto, {takes} {given}
```

```python
from model import Model

model = Model()
contract = model.contract  # what input.json holds
outputs = model.predict(model.normalise(stored))  # {given} -> {made}
print({answer})
model.predict_tensor_proto(base64)
```"""
SEVERAL = """\
The model takes and gives, N samples at once:

{table}

{bounds}

Any number of samples may be given; the module computes {batch} at once. Arrays go by the names in `input.json`: those
of inputs are {names}.

```js
import {{ load, TYPES }} from "./model.js";

const model = await load();
const stored = {{}}; // your samples: an array for each input, one sample after another, row-major
for (const {{ name, shape, stored_dtype }} of model.contract.inputs) {{
  stored[name] = new TYPES[stored_dtype].array(shape.reduce((size, length) => size * length, 1));
}}
const made = model.predict(model.normalise(stored));{judged_js}
```

```python
import numpy as np

from model import Model

model = Model()
contract = model.contract  # what input.json holds
# your samples
stored = {{one["name"]: np.zeros((1, *one["shape"]), one["stored_dtype"]) for one in contract["inputs"]}}
made = model.predict(model.normalise(stored))
outputs = {judged_python}
print({answer})
```

`predictTensorProto`, and in Python `predict_tensor_proto`, take a base64 ONNX TensorProto for each input, by name."""


def readme(fields: Mapping[str, str], contract: Contract, report: Mapping[str, Any], page_takes: str) -> str:
    """README.md; `fields` are those of `EmitInputs.readme`, `report` what report.json holds."""
    batch = report["batch"]
    counted = "one sample" if batch == 1 else f"{batch} samples"
    if contract.is_single:
        usage = SINGLE.format(**fields, array=ARRAYS[fields["gives"]], batch=batch)
        addresses = (
            f"`input(0)` and `output(0)`, which give the addresses of {counted}\n"
            f"and of the outputs, {fields['takes']} and {fields['gives']} in row-major order"
        )
    else:
        names = [one.name for one in contract.inputs]
        several = len(contract.outputs) > 1
        usage = SEVERAL.format(
            **fields,
            batch=batch,
            names=", ".join(f"`{name}`" for name in names),
            judged_js=f' // made["{fields["judged"]}"], ... are arrays' if several else " // an array",
            judged_python=f'made["{fields["judged"]}"]' if several else "made",
        ).replace("\n\n\n\n", "\n\n")
        addresses = (
            f"`input(i)` and `output(i)`, which give the addresses of {counted}\n"
            "of each input and output, in the order of the table and row-major"
        )
    return README.format(
        **fields,
        usage=usage,
        addresses=addresses,
        page_takes=page_takes,
        refused=_refused(contract),
        scheme=report["scheme"],
        size=report["size_bytes"][MODULE],
        plain_size=report["size_bytes"][PLAIN_MODULE],
        engine=report["engine"],
    )


def _refused(contract: Contract) -> str:
    floats = {one.is_float for one in contract.inputs}
    said = {True: "with NaN in it", False: "with a number out of range"}
    return " or ".join(said[kind] for kind in sorted(floats, reverse=True))
