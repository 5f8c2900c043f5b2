"""Compiles the benchmark's models: `python compiled.py FOLDER`, in the wasm environment.

Writes NAME.wasm, NAME.nosimd.wasm, NAME.int8.wasm and NAME.direct.wasm, without Winograd, with the contract that their
client reads, and prints as the last line JSON: model -> operations of the direct convolution and products, a
multiply-add being two.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import onnx

from recast.stages.compilers.onnx_c.build import build_wasm
from recast.stages.compilers.onnx_c.compile import Options, Sources, generate


def main(folder: Path) -> None:
    work = {}
    for path in sorted(folder.glob("*.calibration.npz")):
        name = path.name.partition(".")[0]
        model = onnx.load(folder / f"{name}.onnx")
        sources = generate(model)
        write(sources, True, folder / f"{name}.wasm")
        write(sources, False, folder / f"{name}.nosimd.wasm")
        write(generate(model, Options(winograd=False)), True, folder / f"{name}.direct.wasm")
        write(generate(onnx.load(folder / f"{name}.int8.onnx")), True, folder / f"{name}.int8.wasm")
        (folder / f"{name}.contract.json").write_text(json.dumps(contract(sources)))
        work[name] = 2 * sources.report["macs"]
    print(json.dumps(work))


def write(sources: Sources, simd: bool, path: Path) -> None:
    """Compile one module."""
    with tempfile.TemporaryDirectory() as scratch:
        path.write_bytes(build_wasm(sources, simd, Path(scratch)))


def contract(sources: Sources) -> dict[str, Any]:
    """What the emitted client needs to know."""
    (given,), (result,) = sources.inputs, sources.outputs
    return {"shape": given.shape[1:], "batch": given.shape[0], "output": {"shape": result.shape}}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
