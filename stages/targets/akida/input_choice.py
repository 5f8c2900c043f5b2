"""Whether the input that a model takes was chosen with a look at the device on which it is mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recast.stages.base import StageError, note
from recast.stages.targets.akida import devices, mapping


@dataclass(frozen=True)
class Unseen:
    """What `quantize` did not look at, though it had several inputs to choose from."""

    device: bool = False
    constraints: bool = False

    def explained(self, error: StageError) -> StageError:
        """The refusal of a device, with what may mend it; as it was if the choice looked at all."""
        if not self._remedy:
            return error
        return StageError(error.message, *error.remedies, f"{self._remedy}: it tried no other input {self._where}")

    def tell(self, device: str, in_software: int) -> None:
        """A note of layers in software that another input may bring into hardware, if the choice missed something."""
        if self._remedy and in_software:
            layers = f"{in_software} layer{'s' if in_software > 1 else ''}"
            note(
                f"{device} leaves {layers} to software, and quantize tried no other input {self._where}: {self._remedy}"
            )

    @property
    def _where(self) -> str:
        return "there" if self.device else "with these map_constraints"

    @property
    def _remedy(self) -> str:
        changes = ["quantize.devices to what emit.device names"] if self.device else []
        changes += ["quantize.map_constraints to those of emit"] if self.constraints else []
        return f"set {' and '.join(changes)}" if changes else ""


def unseen(scheme: Mapping[str, Any], device: devices.Device, way: mapping.Way) -> Unseen:
    """What the choice that a `scheme.json` states did not look at of a device and how a model is mapped on it."""
    possible = [one for one in scheme["inputs_tried"] if "refused" not in one]
    if len(possible) + len(scheme["inputs_not_tried"]) < 2:
        return Unseen()
    looked_at = devices.several(devices.known(scheme["devices"]))
    return Unseen(
        not any(devices.are_same(device, one) for one in looked_at),
        dict(way.constraints) != scheme["map_constraints"],
    )
