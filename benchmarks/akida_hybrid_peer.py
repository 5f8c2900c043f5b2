"""What onnx2akida makes of one network: `python akida_hybrid_peer.py MODEL.onnx DATA`, a Python that has onnx2akida.

DATA is what the stage `data` wrote. It calibrates on the first 64 calibration samples, maps on SixNodesIPv2, and is run
on the test samples one by one, the float model beside it in onnxruntime. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import akida
import numpy as np
import onnx
import onnx2akida
import onnxruntime


def main(path: Path, data: Path) -> None:
    """Convert, run and print."""
    (taken,) = json.loads((data / "input.json").read_text(encoding="utf-8"))["inputs"]

    def normalised(split: str) -> Any:
        x = np.load(data / f"{split}.npz", allow_pickle=False)[taken["name"]]
        per_channel = (-1,) + (1,) * (len(taken["shape"]) - 1)
        mean, std = (np.asarray(taken[key], np.float32).reshape(per_channel) for key in ("mean", "std"))
        return (x.astype(np.float32) / np.float32(taken["divisor"]) - mean) / std

    model, calibration, x = onnx.load(path), normalised("calibration")[:64], normalised("test")
    hybrid, report = onnx2akida.convert(
        model, input_shape=tuple(taken["shape"]), samples=calibration, num_samples=len(calibration), input_dtype="int8"
    )
    found: dict[str, Any] = {
        "nodes_share": report.compatibility_percentage / 100,
        "incompatible": report.incompatible_op_types,
        "akida_parts": len(hybrid.akida_models),
    }
    hybrid.map(akida.SixNodesIPv2())
    layers = [layer for one in hybrid.akida_models for layer in one.layers]
    in_hardware = [
        layer
        for one in hybrid.akida_models
        for sequence in one.sequences
        if str(sequence.backend).endswith("Hardware")
        for passed in sequence.passes
        for layer in passed.layers
    ]
    found |= {
        "layers": len(layers),
        "layers_in_hardware": len(in_hardware),
        "transfer_bytes": sum(one["size"] for one in hybrid.compute_data_movement()),
    }
    expected = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = expected.get_inputs()[0].name
    wanted = np.concatenate([expected.run(None, {name: one[None]})[0] for one in x])
    try:
        made = np.concatenate([np.asarray(hybrid(one[None])[0]) for one in x]).reshape(wanted.shape)
        noise = float(np.square(made - wanted).sum())
        found["sqnr_db"] = 10 * float(np.log10(float(np.square(wanted).sum()) / noise)) if noise else 200.0
    # whatever it raises, that is what its user would see
    except Exception as error:
        found["why"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:200]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
