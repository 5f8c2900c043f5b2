"""Where each layer of a model runs on a device, what it takes there, and why not in hardware if it does not."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from recast.stages.base import StageError, progress
from recast.stages.targets.akida import devices, figures, hardware_limits, input_choice, mapping, runtime


@dataclass(frozen=True)
class Place:
    """Where one layer runs, and why not in hardware if it does not."""

    layer: str
    type: str
    runs_in: Literal["hardware", "software"]
    reason: str = ""
    change: str = ""
    """what of the layer to change, so that hardware takes it; empty where the layer itself is not the obstacle"""

    def __str__(self) -> str:
        """For messages."""
        return f"layer '{self.layer}' ({self.type})"


@dataclass(frozen=True)
class Mapped:
    """A model on a device."""

    device: str
    model: runtime.AkidaModel
    """mapped: it can no longer predict"""
    places: tuple[Place, ...]
    figures: figures.DeviceFigures

    @property
    def software(self) -> list[Place]:
        """The layers that software runs, but for the input's quantizer."""
        return [one for one in self.places if one.runs_in == "software" and one.type != "Quantizer"]

    def as_json(self) -> dict[str, Any]:
        """For mapping.json."""
        layers = [
            {**asdict(place), **asdict(figures.of_layer(layer))}
            for place, layer in zip(self.places, self.model.layers, strict=True)
        ]
        return {
            "device": self.device,
            "parts": figures.parts(self.model.device),
            "figures": self.figures.as_json(),
            "layers": layers,
        }


def on(path: Path, device: devices.Device, way: mapping.Way = mapping.DEFAULT) -> Mapped:
    """The model in `path` on a device.

    Raises StageError if the file is damaged or the model cannot be mapped at all.
    """
    model = mapping.mapped(path, device, way)
    return Mapped(str(device), model, tuple(_places(path, model, way)), figures.of_device(model))


def on_each(
    path: Path,
    wanted: Sequence[devices.Device],
    way: mapping.Way,
    scheme: Mapping[str, Any],
    require_hardware: bool = False,
) -> list[Mapped]:
    """The model in `path` on each device; `scheme`: as `quantize` wrote it.

    StageError as above, and for layers left to software where none may be.
    """
    found = []
    for device in wanted:
        progress(f"map on {device}")
        unseen = input_choice.unseen(scheme, device, way)
        try:
            one = on(path, device, way)
            if require_hardware and one.software:
                raise refused(one.software, one.device)
        except StageError as error:
            raise unseen.explained(error) from error
        unseen.tell(one.device, len(one.software))
        found.append(one)
    return found


def report(mapped: Sequence[Mapped], scheme: Mapping[str, Any]) -> dict[str, Any]:
    """For mapping.json: a model on its devices, and what `quantize` did for it."""
    first, *others = mapped
    return {
        **first.as_json(),
        "others": [one.as_json() for one in others],
        "inputs_tried": scheme["inputs_tried"],
        "rewritten": scheme["rewritten"],
    }


def summary(mapped: Mapped) -> str:
    """Akida's own, of the mapped model."""
    text = io.StringIO(f"{mapped.device}\n\n")
    text.seek(0, io.SEEK_END)
    # akida prints its summary and cannot be asked for it
    with contextlib.redirect_stdout(text):
        mapped.model.summary()
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def refused(software: Sequence[Place], device: str) -> StageError:
    """The layers that stand in the way, and what to change of each; those that only follow from them are counted."""
    obstacles = [place for place in software if place.change] or software
    more = len(software) - len(obstacles)
    others = f", and {more} more in software because of {'them' if len(obstacles) > 1 else 'it'}" if more else ""
    changes = [f"for layer '{place.layer}': {place.change}" for place in obstacles if place.change]
    return StageError(
        f"{len(software)} layer{'s' if len(software) > 1 else ''} cannot run on {device}: "
        + "; ".join(f"{place}: {place.reason}" for place in obstacles)
        + others,
        f"in the model, {'; '.join(changes)}"
        if changes
        else "change how these layers are connected, or set emit.device to one with more nodes",
        "set emit.require_hardware to false",
    )


def _places(path: Path, model: runtime.AkidaModel, way: mapping.Way) -> list[Place]:
    hardware, device = mapping.in_hardware(model), model.device
    obstacles = _obstacles(path, device, way) if len(hardware) < len(model.layers) else {}
    described = model.to_dict()
    places = []
    for layer, entry in zip(model.layers, described["layers"], strict=True):
        kind = runtime.layer_type(layer)
        if layer.name in hardware:
            places.append(Place(layer.name, kind, "hardware"))
        else:
            said = obstacles.get(layer.name)
            found = hardware_limits.limits(said) if said else _obstacle_alone(layer, entry, described, device)
            behind = [runtime.layer_type(one) for one in model.layers if layer in one.inbounds]
            if any("Conv" in one for one in behind):
                # a pool is the last layer in hardware only because the convolution behind it is in software
                found = [replace(one, change="") if one == hardware_limits.POOLS else one for one in found]
            reason = "; ".join(dict.fromkeys(one.why for one in found))
            change = "; ".join(dict.fromkeys(one.change for one in found if one.change))
            places.append(Place(layer.name, kind, "software", reason, change))
    return places


def _obstacles(path: Path, device: Any, way: mapping.Way) -> dict[str, str]:
    """layer -> why it cannot run in hardware, as far as akida says so for the model as a whole."""
    try:
        mapping.put(runtime.load(path), device, way, hw_only=True)
    except Exception as error:
        return {name: plain(why) for name, why in re.findall(r"\* Layer '([^']+)': (.+)", str(error))}
    return {}


def _obstacle_alone(
    layer: Any, entry: Mapping[str, Any], described: Mapping[str, Any], device: Any
) -> list[hardware_limits.Limit]:
    """Why this layer is left to software: what akida says when asked to map it alone."""
    import akida

    kind = runtime.layer_type(layer)
    if kind == "Quantizer":
        return [hardware_limits.Limit("it quantizes the input, which is done in software")]
    if len(entry["inbounds"]) > 1:
        return [hardware_limits.Limit("a layer it adds or joins is in software")]
    try:
        model = {**described, "layers": []}
        if entry["inbounds"] and kind != "InputConv2D":
            alone = akida.Model()
            alone.add(akida.InputData(input_shape=tuple(layer.input_dims), input_bits=8, name="input_of_the_layer"))
            model = alone.to_dict()
        inbounds = [one["name"] for one in model["layers"]]
        model["layers"] = [*model["layers"], {**entry, "inbounds": inbounds}]
        akida.Model.from_dict(model).map(device, hw_only=True)
    except Exception as error:
        return hardware_limits.limits(hardware_limits.of_layer(str(error))[1] or type(error).__name__)
    return [hardware_limits.Limit("it would fit, but the layers around it are in software")]


def plain(message: str) -> str:
    """The message in one line, without what it was joined by."""
    return " ".join(message.split()).lstrip(".: ")
