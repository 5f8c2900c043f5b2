"""The process in which `simplify` runs its tools, since they are native code and may crash.

Run as `python -I simplify_process.py TOOL SOURCE DESTINATION OPSET IR_VERSION` with `-` for an opset or IR
version that stays as it is. It imports nothing of ours: isolated mode keeps this folder, whose
`onnxruntime` would hide the real one, off the path.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(tool: str, source: str, destination: str, opset: str, ir_version: str) -> None:
    """Simplify the model in `source`, convert it if asked, and write it to `destination`."""
    import onnx
    import onnx.version_converter

    model = onnx.load(source)
    if tool == "onnxsim":
        import onnxsim

        # parity is checked by the stage, against the exporter's own outputs
        model, _ = onnxsim.simplify(model, check_n=0)
    else:
        import onnxslim

        model = onnxslim.slim(model)
    drop_idle_allowzero(model)
    # onnxsim's notes on its own run are no part of the model
    kept = [entry for entry in model.metadata_props if not entry.key.startswith("onnxsim.")]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if opset != "-":
        model = onnx.version_converter.convert_version(model, int(opset))
    if ir_version != "-":
        model.ir_version = int(ir_version)
        if model.ir_version < 4:
            # before IR 4 every weight is also listed as an input
            known = {value.name for value in model.graph.input}
            model.graph.input.extend(
                onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
                for weight in model.graph.initializer
                if weight.name not in known
            )
    Path(destination).write_bytes(model.SerializeToString(deterministic=True))


def drop_idle_allowzero(model: Any) -> None:
    """Remove `allowzero` from each Reshape whose constant shape has no zero, where it means nothing.

    PyTorch's exporter always sets it; several tools refuse any Reshape that has it.
    """
    import onnx

    shapes = {weight.name: weight for weight in model.graph.initializer}
    for node in model.graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if shape is not None and 0 not in onnx.numpy_helper.to_array(shape):
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        # the last line of standard error is what the stage shows
        sys.stderr.write(f"\n{type(error).__name__}: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from None
