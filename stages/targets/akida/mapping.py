"""How a model is mapped on a device, and which of its layers that brings into hardware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, PositiveInt

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.spelling import did_you_mean
from recast.stages.targets.akida import devices, runtime

Mode: TypeAlias = Literal["AllNps", "HwPr", "Minimal"]
"""akida's `MapMode`"""


CONSTRAINTS: dict[str, int] = {"cnp_max_filters": 512, "cnp_max_height": 256, "cnp_max_width": 64}
"""of akida's `MapConstraints`, by which a convolution is split over neural processors (CNP) -> the most that it takes,
which is what it has unless told"""


def _of_akida(constraints: dict[str, int]) -> dict[str, int]:
    for name, value in constraints.items():
        if name not in CONSTRAINTS:
            raise ValueError(f"cannot hold {name!r}; {did_you_mean(name, CONSTRAINTS)}")
        if value > CONSTRAINTS[name]:
            raise ValueError(f"cannot have {name} above {CONSTRAINTS[name]}; lower it, or leave it out for that")
    return constraints


Constraints: TypeAlias = Annotated[dict[str, PositiveInt], AfterValidator(_of_akida)]


@dataclass(frozen=True)
class Way:
    """How akida maps a model."""

    mode: Mode = "AllNps"
    constraints: Mapping[str, int] = field(default_factory=dict)


DEFAULT = Way()


def mapped(path: Path, device: devices.Device, way: Way = DEFAULT) -> runtime.AkidaModel:
    """The model in `path` mapped on a device: it can no longer predict.

    Raises StageError if the file is damaged or the model cannot be mapped at all.
    """
    model = runtime.load(path)
    made = devices.make(device, model)
    try:
        put(model, made, way)
    # akida's core raises several unrelated types
    except Exception as error:
        raise StageError(
            f"the model cannot be mapped on {device}: {onnx_files.first_line(error)}",
            "choose another device",
            "drop map_constraints" if way.constraints else "",
        ) from error
    return model


def put(model: runtime.AkidaModel, device: Any, way: Way = DEFAULT, hw_only: bool = False) -> None:
    """Map the model on an `akida.Device`; raises what akida raises if it cannot be."""
    import akida

    constraints = None
    if way.constraints:
        constraints = akida.MapConstraints(device)
        for name, value in way.constraints.items():
            setattr(constraints, name, value)
    model.map(device, hw_only=hw_only, mode=akida.MapMode[way.mode], constraints=constraints)


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
