"""The files of the emitted folder that are the same for every model, or nearly."""

from __future__ import annotations

MODULE = "model.wasm"
PLAIN_MODULE = "model.nosimd.wasm"
COPIED = ("model.js", "model.d.ts", "model.py", "package.json")
"""as they lie in `stages/wasm/clients`"""

README = """\
# {dataset}, {scheme}, as WebAssembly

| file | is |
|---|---|
| `model.wasm` | the model, weights inside, {size} bytes; needs SIMD, which browsers have had since 2023 |
| `model.nosimd.wasm` | the same without SIMD, {plain_size} bytes |
| `model.js`, `model.d.ts` | an ES module for browsers and Node, with types; it takes the module that runs |
| `package.json` | tells Node that the folder is an ES module |
| `model.py` | a client for Python, with wasmtime and NumPy |
| `index.html` | a page that runs the model on images; it needs no server: open the file |
| `input.json` | what the model takes: shape, layout, normalisation, and the names of its classes |
| `report.json` | engine ({engine}), kernels, sizes, and the error against onnxruntime |

The model takes float32 (N, {shape}) and gives one score for each of {classes} classes, in the order of `classes` in
`input.json`. A stored sample becomes its input as `(stored / {divisor:g} - mean) / std`, with mean {mean} and std {std}
per channel (the first axis). The wrong normalisation raises no error: it only gives wrong classes. Any number of
samples may be given; the module computes {batch} at once.

```js
import {{ load }} from "./model.js";

const model = await load();
const scores = model.predict(model.normalise(pixels)); // Float32Array; pixels channel by channel, as in `shape`
model.predictTensorProto(base64); // the same for a base64 ONNX TensorProto, float32 (N, {shape})
```

```python
from model import Model

model = Model()
scores = model.predict(model.normalise(pixels))  # (N, {shape}) -> (N, {classes})
model.predict_tensor_proto(base64)
```

Input of a wrong type, length or shape, or with NaN in it, is refused with an error that says what is needed.

## Without a client

The module imports nothing. It exports `memory`, `input(0)` and `output(0)`, which give the address of {batch} samples
and of their scores, float32 in row-major order, and `run()`, which computes the one from the other and gives 0.
"""
