"""Emit the simplified model as text, its weights as .npz, and the input contract. Deterministic."""

from __future__ import annotations

from pathlib import Path

from recast.stages.base import Inputs, Metrics, Params, Stage

ARTIFACT, WEIGHTS = "model.onnx.txt", "weights.npz"


def run(params: Params, inputs: Inputs, out: Path) -> Metrics:
    """simplify/model.onnx and the data's contract -> model.onnx.txt, weights.npz and input.json."""
    import numpy as np
    from onnx import helper, numpy_helper, printer

    from recast.stages.common.dataset import read_contract
    from recast.stages.common.onnx_models import onnx_files

    model = onnx_files.read_model(inputs["simplify"] / "model.onnx")
    weights = list(model.graph.initializer)
    del model.graph.initializer[:]
    for weight in weights:
        model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    (out / ARTIFACT).write_text(printer.to_text(model) + "\n", encoding="utf-8")
    np.savez(out / WEIGHTS, **{weight.name: numpy_helper.to_array(weight) for weight in weights})
    read_contract(inputs["data"]).write(out)
    return {"size_bytes": (out / ARTIFACT).stat().st_size, "weights": len(weights)}


STAGE = Stage(params=Params, inputs=("simplify", "data"), run=run, emits=ARTIFACT, ships=(ARTIFACT, WEIGHTS))
