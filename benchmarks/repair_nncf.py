"""NNCF's accuracy control on one network: `python repair_nncf.py MODEL.onnx DATA MAX_DROP`, a Python that has NNCF.

DATA is the folder that holds NAME.npz. Calibrates on the first 512 train samples, as Recast does where that is the
default, and validates on the test split. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import onnx
import onnxruntime


def main(path: Path, data: Path, max_drop: float) -> None:
    """Quantize, count and print."""
    arrays = np.load(data / f"{path.stem}.npz")
    x, y = arrays["x_test"].astype(np.float32), arrays["y_test"]
    calibration = arrays["x_train"].astype(np.float32)[:512]
    model = onnx.load(path)
    # both know the float model's accuracy beforehand
    before = accuracy(model, x, y)
    evaluations = 0

    def validate(tried: Any, samples: Any) -> tuple[float, None]:
        nonlocal evaluations
        taken, truth = zip(*samples, strict=True)
        evaluations += len(truth) == len(y)  # it looks at single samples as well, to rank the layers
        return accuracy(tried, np.concatenate(taken), np.array(truth)), None

    began = time.monotonic()
    made = nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=nncf.Dataset(
            [calibration[i : i + 1] for i in range(len(calibration))], lambda one: {"input": one}
        ),
        validation_dataset=nncf.Dataset([(x[i : i + 1], y[i]) for i in range(len(x))], lambda one: {"input": one[0]}),
        validation_fn=validate,
        max_drop=max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=512,
    )
    seconds = time.monotonic() - began
    drop = before - accuracy(made, x, y)
    found = {
        "drop": round(drop, 6),
        "meets": round(drop, 12) <= max_drop,
        "int8": quantized(made, model),
        "evaluations": evaluations - 1,  # of which one is of the float model
        "seconds": round(seconds, 1),
    }
    print(json.dumps(found))


def accuracy(model: Any, x: Any, y: Any) -> float:
    """By onnxruntime, as it is shipped."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    blob = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(blob, settings, providers=["CPUExecutionProvider"])
    scores = session.run(None, {session.get_inputs()[0].name: x})[0]
    return float((scores.argmax(axis=1) == y).mean())


def quantized(model: Any, before: Any) -> str:
    """How many of the nodes with weights read what was dequantized."""
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    kinds = ("Conv", "Gemm", "MatMul")
    weighted = [node for node in model.graph.node if node.op_type in kinds]
    return f"{sum(node.input[0] in dequantized for node in weighted)} of {len(weighted)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
