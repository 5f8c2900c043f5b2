"""Runs the model in Python with akida and NumPy alone: pip install akida numpy; one in parts needs onnxruntime as well.

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
        self._device = device
        if (folder / "parts.json").is_file():
            parts = json.loads((folder / "parts.json").read_text(encoding="utf-8"))
        else:
            takes = json.loads((folder / "akida_input.json").read_text(encoding="utf-8"))
            part = {"kind": "akida", "file": "model.fbz", "reads": ["input"], "gives": ["output"], "takes": takes}
            shape = takes["finish"][0][1] if takes["finish"] else self.contract["outputs"][0]["shape"]
            parts = {"input": "input", "output": "output", "parts": [{**part, "shape": shape}]}
        self._input, self._output, self._parts = parts["input"], parts["output"], parts["parts"]
        self._share_device = sum(part["kind"] == "akida" for part in self._parts) > 1
        self._loaded = [self._load(folder / Path(part["file"]).name, part["kind"]) for part in self._parts]

    def _load(self, path: Path, kind: str) -> Any:
        if kind == "onnx":
            import onnxruntime  # of a model in parts alone

            return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        model = akida.Model(str(path))
        if self._device is not None and not self._share_device:
            model.map(self._device)
        return model

    def predict(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Samples as stored (N, *shape), of input.json's dtype or integers that it holds -> outputs (N, ...).

        Raises InputError.
        """
        stored = _fitting(stored, self.contract["inputs"][0])
        values = {self._input: self._normalised(stored)}
        for part, loaded in zip(self._parts, self._loaded, strict=True):
            if part["kind"] == "onnx":
                made = loaded.run(part["gives"], {name: values[name] for name in part["reads"]})
                values.update(zip(part["gives"], made, strict=True))
                continue
            if self._device is not None and self._share_device:
                loaded.map(self._device)
            takes = part["takes"]
            given = stored if takes["values"] == "stored" else values[part["reads"][0]]
            ordered = loaded.predict(_as_taken(given, takes)).transpose(0, 3, 1, 2)  # akida puts the channels last
            ordered = ordered.reshape(len(stored), *(-1 if length is None else length for length in part["shape"]))
            values[part["gives"][0]] = np.ascontiguousarray(_done(ordered, takes["finish"]), np.float32)
        outputs: NDArray[Any] = values[self._output]
        return outputs

    def _normalised(self, stored: NDArray[Any]) -> NDArray[Any]:
        taken = self.contract["inputs"][0]
        if np.dtype(taken["dtype"]).kind != "f":
            return stored.astype(taken["dtype"])
        per_channel = (-1,) + (1,) * (len(taken["shape"]) - 1)
        mean, std = (np.asarray(taken[key], np.float32).reshape(per_channel) for key in ("mean", "std"))
        made: NDArray[Any] = (stored.astype(np.float32) / np.float32(taken["divisor"]) - mean) / std
        return made

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


def _as_taken(given: NDArray[Any], takes: dict[str, Any]) -> NDArray[Any]:
    """Samples (N, ...) as `akida.Model.predict` takes them."""
    x = _done(given, takes["start"])
    if takes["layout"] == "NHWC" and x.ndim == 4:
        x = x.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x.reshape(len(x), *takes["shape"]), takes["dtype"])


def _done(x: NDArray[Any], steps: Sequence[Any]) -> NDArray[Any]:
    """The array (N, ...) after these steps of `akida_input.json` or parts.json."""
    for kind, numbers in steps:
        if kind == "reshape":
            x = x.reshape(len(x), *numbers)
        elif kind == "transpose":
            x = x.transpose(0, *numbers)
        else:
            half = len(numbers) // 2
            x = np.pad(x, [(0, 0), *zip(numbers[:half], numbers[half:], strict=True)], kind)
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
