"""The devices a recipe may name: akida's virtual ones, the smallest that takes a model, or one by its parts.

What is offered is of version 2 of the processor. Akida 1.0 is not: cnn2snn converts no ONNX model for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from recast.stages.base import StageError
from recast.stages.common.spelling import did_you_mean, meant, nearest
from recast.stages.targets.akida import hardware_limits, runtime

Virtual: TypeAlias = Literal["TwoNodesIPv2", "FourNodesIPv2", "SixNodesIPv2", "TwelveNodesIPv2"]
VIRTUAL: tuple[Virtual, ...] = get_args(Virtual)
"""akida's virtual devices with version 2 of the processor, the smallest first"""
Smallest: TypeAlias = Literal["smallest", "smallest_hwpr"]
SMALLEST: tuple[Smallest, ...] = get_args(Smallest)
"""by akida's `compute_min_device`: wholly in one pass, or with partial reconfiguration, in as many as it takes"""
NAMES = (*VIRTUAL, *SMALLEST)
OTHER_VERSIONS: dict[str, str] = {
    **dict.fromkeys(("AKD1000", "AKD1500", "TwoNodesIPv1"), "1"),
    "PicoIP": "Pico",
}
"""akida's other virtual devices -> the version of their processor"""


THERE = f"there are {', '.join(NAMES)}, or give num_cnp_tnp and num_fnp of one to create"
"""for messages"""


class NoneTakesIt(StageError):
    """No device takes the whole model."""


class SramSize(BaseModel):
    """Memory that two neural processors share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_bytes: int = Field(gt=0, description="bytes for inputs")
    weight_bytes: int = Field(gt=0, description="bytes for weights")


class CreatedDevice(BaseModel):
    """A device by its parts, as akida's `create_device` takes them. It has whole nodes of four neural processors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(
        default=None, pattern="^[A-Za-z_][A-Za-z0-9_.]*$", description="what it is called; unset: created_CNPS_FNPS"
    )
    num_cnp_tnp: int = Field(ge=0, le=1024, description="neural processors for convolutions")
    num_fnp: int = Field(ge=0, le=1024, description="neural processors for dense layers; the first has external memory")
    num_skip_dma_channel: int = Field(
        default=0, ge=0, le=1024, description="channels that hand outputs past other layers, as an Add needs them"
    )
    include_hrc: bool = Field(default=True, description="with the unit for the input's convolution")
    sram_size: SramSize | None = Field(
        default=None, description="memory that two neural processors share; unset: as version 2 has it"
    )

    @model_validator(mode="after")
    def _has_processors(self) -> CreatedDevice:
        if not self.num_cnp_tnp + self.num_fnp:
            raise ValueError("has no neural processor; raise num_cnp_tnp or num_fnp")
        return self

    def __str__(self) -> str:
        """What it is called."""
        return self.name or f"created_{self.num_cnp_tnp}_{self.num_fnp}"


Device: TypeAlias = Virtual | Smallest | CreatedDevice


def known(value: Any) -> Device | tuple[Device, ...]:
    """What a recipe gives, as a device or several; ValueError, which says what is wrong and what there is."""
    if not isinstance(value, list | tuple):
        return _device(value)
    made = tuple(_device(one) for one in value)
    named = [str(one) for one in made]
    if not named:
        raise ValueError(f"names no device; {THERE}")
    if twice := [name for name in named if named.count(name) > 1]:
        raise ValueError(f"names {twice[0]} twice; leave one out, or give it another name")
    return made


def several(device: Device | Sequence[Device]) -> tuple[Device, ...]:
    """The devices, of one or more."""
    return (device,) if isinstance(device, str | CreatedDevice) else tuple(device)


Devices: TypeAlias = Annotated[
    Device | tuple[Device, ...],
    BeforeValidator(known),
    # short, since `known` says what is wrong with a mapping or a list
    WithJsonSchema({"anyOf": [{"enum": [*NAMES]}, {"type": "object"}, {"type": "array", "minItems": 1}]}),
]
"""of a recipe: one device or several"""


def are_same(one: Device, other: Device) -> bool:
    """Whether two are the same device, by whatever name one that is created is called."""
    return _unnamed(one) == _unnamed(other)


def make(device: Device, model: runtime.AkidaModel) -> Any:
    """The `akida.Device`. NoneTakesIt if none takes the whole model, where the smallest that does is wanted."""
    import akida

    if isinstance(device, CreatedDevice):
        parts = device.model_dump(exclude={"name", "sram_size"})
        size = device.sram_size
        sram = akida.NP.SramSize(size.input_bytes, size.weight_bytes) if size else None
        return akida.create_device(**parts, sram_size=sram)
    if device in VIRTUAL:
        return getattr(akida.virtual_devices, device)()
    try:
        return akida.compute_min_device(model, enable_hwpr=device == "smallest_hwpr")
    # akida's core raises several unrelated types
    except Exception as error:
        raise _none(str(device), str(error)) from error


def _unnamed(device: Device) -> Device:
    return device.model_copy(update={"name": None}) if isinstance(device, CreatedDevice) else device


def _device(value: Any) -> Device:
    if isinstance(value, CreatedDevice):
        return value
    if isinstance(value, dict):
        return _created(value)
    if isinstance(value, str):
        if value in NAMES:
            return cast("Device", value)
        if value in OTHER_VERSIONS:
            raise ValueError(f"cannot be '{value}', {_refused(value)}; {THERE}")
        near = nearest(value, NAMES)
        raise ValueError(f"cannot be {value[:60]!r}; {meant(near) + ' ' if near else ''}{THERE}")
    raise ValueError(f"cannot be {json.dumps(value, default=str)[:60]}; {THERE}")


def _created(parts: dict[str, Any]) -> CreatedDevice:
    try:
        return CreatedDevice.model_validate(parts)
    except ValidationError as error:
        first = error.errors()[0]
    within = {"sram_size": SramSize}.get(str(first["loc"][0])) if len(first["loc"]) > 1 else None
    fields = (within or CreatedDevice).model_fields if first["loc"] else {}
    name = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        said = f"has no part {name!r}; {did_you_mean(str(first['loc'][-1]), fields)}"
    elif fields:
        wrong = "needs" if first["type"] == "missing" else f"cannot have {first['input']!r} as its"
        said = f"{wrong} {name}; {name} is: {fields[str(first['loc'][-1])].description}"
    raise ValueError(f"names a device to create that {said}")


def _refused(name: str) -> str:
    """Why a device of another version takes no model made here, in the words of BrainChip's tools."""
    if OTHER_VERSIONS[name] == "1":
        says = "cnn2snn says 'Akida v1 does not support ONNX models. Use Akida v2 instead.'"
    else:
        says = "akida says 'The IP version of the model and device must be identical.'"
    version = OTHER_VERSIONS[name]
    return f"which has version {version} of the processor, where models made of ONNX are for version 2: {says}"


def _none(device: str, said: str) -> NoneTakesIt:
    layer, why = hardware_limits.of_layer(said)
    found = hardware_limits.limits(why)
    changes = [one.change for one in found if one.change]
    of = f"layer '{layer}': " if layer else ""
    return NoneTakesIt(
        f"emit.device is {device}, and no device takes the whole model: {of}{'; '.join(one.why for one in found)}",
        f"in the model, for {of}{'; '.join(changes)}" if changes and layer else "",
        "set emit.device to a device by its name, which may leave layers to software",
    )
