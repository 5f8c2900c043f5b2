"""The one list of stages: name -> module and environment."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from stages.base import Stage


@dataclass(frozen=True)
class Entry:
    """Where a stage's module is and in which environment of `envs/` its process runs."""

    module: str
    environment: str


REGISTRY: dict[str, Entry] = {
    # trunk, in the order it runs; `import` takes the place of train and export
    "data": Entry("stages.data", "torch"),
    "train": Entry("stages.train", "torch"),
    "export": Entry("stages.export", "torch"),
    "import": Entry("stages.import_onnx", "onnx"),
    "simplify": Entry("stages.simplify", "onnx"),
    # targets
    "akida.quantize": Entry("stages.akida.quantize", "akida"),
    "akida.calibrate": Entry("stages.akida.calibrate", "akida"),
    "akida.emit": Entry("stages.akida.emit", "akida"),
    "akida.verify": Entry("stages.akida.verify", "akida"),
    "c.emit": Entry("stages.c.emit", "wasm"),
    "c.verify": Entry("stages.c.verify", "wasm"),
    "onnxruntime.quantize": Entry("stages.onnxruntime.quantize", "onnx"),
    "onnxruntime.calibrate": Entry("stages.onnxruntime.calibrate", "onnx"),
    "onnxruntime.emit": Entry("stages.onnxruntime.emit", "onnx"),
    "onnxruntime.verify": Entry("stages.onnxruntime.verify", "onnx"),
    "wasm.quantize": Entry("stages.wasm.quantize", "onnx"),
    "wasm.calibrate": Entry("stages.wasm.calibrate", "onnx"),
    "wasm.emit": Entry("stages.wasm.emit", "wasm"),
    "wasm.verify": Entry("stages.wasm.verify", "wasm"),
    "zml.emit": Entry("stages.zml.emit", "torch"),
    "zml.verify": Entry("stages.zml.verify", "zml"),
}

TRUNK = ("data", "train", "export", "import", "simplify")
"""Reserved names: no target may bear them."""


def load(name: str) -> Stage[Any]:
    """Import the stage's module, which must not import its vendor's packages at the top; KeyError if unknown."""
    stage = importlib.import_module(REGISTRY[name].module).STAGE
    if not isinstance(stage, Stage):
        raise TypeError(f"{REGISTRY[name].module}.STAGE is not a Stage")
    return stage
