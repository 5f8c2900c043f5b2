"""Times native onnxruntime, on request: `python native.py VARIANTS.json`, in the onnx environment.

The same lines as latency.mjs reads and writes; one thread.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


def main(variants: list[dict[str, Any]]) -> None:
    runs = {}
    outputs = {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    for variant in variants:
        session = onnxruntime.InferenceSession(variant["path"], options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: np.fromfile(variant["input"], np.float32).reshape(variant["shape"])}
        for _ in range(30):
            session.run(None, feed)
        runs[variant["name"]] = (session, feed)
        outputs[variant["name"]] = session.run(None, feed)[0].ravel().tolist()
    print(json.dumps({"ready": True, "outputs": outputs}), flush=True)
    for line in sys.stdin:
        name, count = line.split()
        session, feed = runs[name]
        times = []
        for _ in range(int(count)):
            started = time.perf_counter()
            session.run(None, feed)
            times.append((time.perf_counter() - started) * 1000)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
