"""Runs model.fbz in Python with akida and NumPy alone: pip install akida numpy.

    from model import Model
    model = Model()                 # Model(device=akida.devices()[0]) puts it on a chip
    outputs = model.predict(stored)

`python model.py SAMPLES.npy` prints what the model says of samples as they are stored, and `-o OUTPUTS.npy` writes its
outputs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import akida
import numpy as np
from numpy.typing import NDArray


class InputError(ValueError):
    """Wrong input; the message says what was found and what is needed."""


class Model:
    """The emitted folder."""

    def __init__(self, folder: Path | None = None, device: Any = None) -> None:
        """The folder of this file if none is given.

        `device`: an `akida.Device` that the model is mapped on; akida's software backend without one, which computes
        the same integers. On a virtual device nothing can be run.
        """
        folder = folder or Path(__file__).resolve().parent
        self.contract: dict[str, Any] = json.loads((folder / "input.json").read_text(encoding="utf-8"))
        self._takes: dict[str, Any] = json.loads((folder / "akida_input.json").read_text(encoding="utf-8"))
        self.model = akida.Model(str(folder / "model.fbz"))
        if device is not None:
            self.model.map(device)

    def predict(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Samples as stored (N, *shape), of input.json's dtype or integers that it holds -> outputs (N, ...), float32.

        Raises InputError.
        """
        outputs = self.model.predict(self.prepare(stored))
        ordered = outputs.transpose(0, 3, 1, 2)  # akida puts the channels last
        finish = self._takes["finish"]
        shape = finish[0][1] if finish else self.contract["outputs"][0]["shape"]
        ordered = ordered.reshape(len(stored), *(-1 if length is None else length for length in shape))
        return np.ascontiguousarray(_done(ordered, finish), np.float32)

    def prepare(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Samples as stored (N, *shape) -> what `akida.Model.predict` takes. Raises InputError."""
        taken, takes = self.contract["inputs"][0], self._takes
        x = _fitting(stored, taken)
        if takes["values"] == "normalised":
            per_channel = (-1,) + (1,) * (len(taken["shape"]) - 1)
            mean, std = (np.asarray(taken[key], np.float32).reshape(per_channel) for key in ("mean", "std"))
            x = (x.astype(np.float32) / np.float32(taken["divisor"]) - mean) / std
        x = _done(x, takes["start"])
        if takes["layout"] == "NHWC" and x.ndim == 4:
            x = x.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(x.reshape(len(x), *takes["shape"]), takes["dtype"])

    def said(self, outputs: NDArray[Any]) -> list[str]:
        """What outputs (N, ...) say, a line a sample: the class, where there are classes, else the numbers."""
        classes = self.contract["classes"]
        if classes and outputs.shape[1:] == (len(classes),):
            return [classes[index] for index in outputs.argmax(axis=1)]
        return [json.dumps(one.tolist()) for one in outputs]


def _fitting(stored: Any, taken: dict[str, Any]) -> NDArray[Any]:
    dtype, shape = np.dtype(taken["stored_dtype"]), tuple(taken["shape"])
    if not isinstance(stored, np.ndarray) or stored.shape[1:] != shape or stored.ndim != len(shape) + 1:
        found = f"an array of shape {stored.shape}" if isinstance(stored, np.ndarray) else type(stored).__name__
        raise InputError(f"the samples are {found}; the model takes (N, {', '.join(map(str, shape))})")
    if not len(stored):
        raise InputError("there are no samples")
    if dtype.kind == "f":
        if stored.dtype.kind not in "fiu" or not np.isfinite(stored).all():
            raise InputError("the samples hold what is no finite number")
        return stored
    # floats that were meant to be bytes raise no error in akida, and give wrong outputs
    if stored.dtype.kind not in "iu":
        raise InputError(f"the samples are {stored.dtype}; the model takes {dtype}, as they are stored")
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if stored.min() < low or stored.max() > high:
        raise InputError(f"the samples hold {stored.min()} to {stored.max()}; the model takes {low} to {high}")
    return stored.astype(dtype)


def _done(x: NDArray[Any], steps: Sequence[Any]) -> NDArray[Any]:
    """The array (N, ...) after these steps of `akida_input.json`."""
    for kind, numbers in steps:
        x = x.reshape(len(x), *numbers) if kind == "reshape" else x.transpose(0, *numbers)
    return x


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 and a line on stderr for wrong input."""
    parser = argparse.ArgumentParser(description="Run model.fbz on samples as they are stored.")
    parser.add_argument("samples", type=Path, help="an npy file, (N, *shape) of input.json")
    parser.add_argument("-o", "--outputs", type=Path, help="an npy file to write the outputs to")
    parser.add_argument("--device", type=int, help="the number of a chip, as `akida devices` lists them")
    given = parser.parse_args(arguments)
    try:
        chips = akida.devices() if given.device is not None else []
        if given.device is not None and not 0 <= given.device < len(chips):
            raise InputError(f"there is no device {given.device}: `akida devices` lists {len(chips)}")
        model = Model(device=chips[given.device] if chips else None)
        outputs = model.predict(np.load(given.samples, allow_pickle=False))
    except (OSError, ValueError) as error:
        print(f"model.py: {error}", file=sys.stderr)
        return 1
    if given.outputs is not None:
        np.save(given.outputs, outputs)
    print("\n".join(model.said(outputs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
