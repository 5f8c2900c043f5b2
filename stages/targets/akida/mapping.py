"""Akida's virtual devices, and which layers of a model each of them takes into hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import runtime

Device: TypeAlias = Literal["TwoNodesIPv2", "FourNodesIPv2", "SixNodesIPv2", "TwelveNodesIPv2"]
DEVICES: tuple[str, ...] = get_args(Device)
"""akida's virtual devices with version 2 of the processor, the smallest first"""


def mapped(path: Path, device: str) -> runtime.AkidaModel:
    """The model in `path` mapped on a virtual device: it can no longer predict.

    Raises StageError if the file is damaged or the model cannot be mapped at all.
    """
    model = runtime.load(path)
    try:
        model.map(virtual(device)())
    # akida's core raises several unrelated types
    except Exception as error:
        raise StageError(
            f"the model cannot be mapped on {device}: {onnx_files.first_line(error)}", "choose another emit.device"
        ) from error
    return model


def virtual(device: str) -> Any:
    """The function of akida that makes the device."""
    import akida

    return getattr(akida.virtual_devices, device)


def in_hardware(model: runtime.AkidaModel) -> set[str]:
    """Names of the layers of a mapped model that run in hardware."""
    return {
        layer.name
        for sequence in model.sequences
        if str(sequence.backend).endswith("Hardware")
        for one_pass in sequence.passes
        for layer in one_pass.layers
    }


def in_software(model: runtime.AkidaModel) -> list[str]:
    """Names of a mapped model's layers that software runs, but for the input's quantizer, in running order."""
    hardware = in_hardware(model)
    return [
        layer.name for layer in model.layers if layer.name not in hardware and runtime.layer_type(layer) != "Quantizer"
    ]
