"""An ONNX file that a user brings: read as it is, or in a later operator set if it is valid only there.

Exporters wrote types into old operator sets that these do not have, such as Equal of floats into 10. What the node
means is what it means in the later set, and onnxruntime runs no other.
"""

from __future__ import annotations

from pathlib import Path

from recast.stages.base import StageError, progress
from recast.stages.common.onnx_models import onnx_files

LATER = (11, 13)
"""operator sets in which operators took more types"""


def read(path: Path, what: str) -> onnx_files.Model:
    """The checked model, as `onnx_files.read_model` gives it, which says why a file is refused."""
    try:
        return onnx_files.read_model(path, what, onnx_files.EXPORT_AGAIN)
    except StageError:
        converted = _in_later_set(path, what)
        if converted is None:
            raise
        progress(f"{what} is valid only from operator set {onnx_files.opset(converted)} on, and is taken as of that")
        return converted


def _in_later_set(path: Path, what: str) -> onnx_files.Model | None:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import version_converter

    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        if onnx_files.has_external_data(model) or not onnx_files.opset(model):
            return None
    except (OSError, DecodeError, StageError):
        return None
    for version in LATER:
        if version > onnx_files.opset(model):
            try:
                converted = version_converter.convert_version(model, version)
                onnx_files.check(converted, what)
                onnx_files.Session(converted, 1, what)
            except Exception:  # the converter raises what it stumbles over
                continue
            return converted
    return None
