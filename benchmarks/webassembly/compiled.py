"""Compiles the benchmark's models: `python compiled.py FOLDER`, in the wasm environment.

Writes NAME.wasm, NAME.nosimd.wasm and NAME.int8.wasm with the contracts their client reads, and prints as the last line
JSON: model -> operations of the direct convolution and products, a multiply-add being two.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import onnx

from stages.wasm.compiler.build import build_wasm
from stages.wasm.compiler.compile import Sources, generate


def main(folder: Path) -> None:
    work = {}
    for path in sorted(folder.glob("*.calibration.npz")):
        name = path.name.partition(".")[0]
        for model, suffixes in ((name, {True: "wasm", False: "nosimd.wasm"}), (f"{name}.int8", {True: "wasm"})):
            sources = generate(onnx.load(folder / f"{model}.onnx"))
            for simd, suffix in suffixes.items():
                with tempfile.TemporaryDirectory() as scratch:
                    (folder / f"{model}.{suffix}").write_bytes(build_wasm(sources, simd, Path(scratch)))
            if model == name:
                work[name] = 2 * sources.report["macs"]
                (folder / f"{name}.contract.json").write_text(json.dumps(contract(sources)))
    print(json.dumps(work))


def contract(sources: Sources) -> dict[str, Any]:
    """What the emitted client needs to know."""
    (given,), (result,) = sources.inputs, sources.outputs
    return {"shape": given.shape[1:], "batch": given.shape[0], "output": {"shape": result.shape}}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
