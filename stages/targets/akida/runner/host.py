"""What `akida generate` makes C++ of for the host of a board: the device's program, inputs, and what it must give.

akida generate --fixture-files host.py --dest-path generated
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import akida
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent


class Host(akida.generate.EngineTestGenerator):  # type: ignore[misc]
    """The emitted model on the device it was mapped on, which has to take all of it."""

    def model(self) -> Any:
        """The model, not mapped."""
        return akida.Model(str(HERE / "model.fbz"))

    def device(self) -> Any:
        """The device of the board: change it here if yours is another."""
        name = json.loads((HERE / "mapping.json").read_text(encoding="utf-8"))["device"]
        known = getattr(akida.virtual_devices, name, None)
        return known() if known is not None else akida.compute_min_device(self.model())

    def inputs(self) -> NDArray[np.uint8]:
        """Random samples, (2, height, width, channels): put some of your own here."""
        return np.random.default_rng(0).integers(0, 256, (2, *self.model().input_shape), np.uint8)

    def outputs(self) -> NDArray[Any]:
        """What the device must give for them, by akida's software backend."""
        made: NDArray[Any] = self.model().forward(self.inputs())
        return made
