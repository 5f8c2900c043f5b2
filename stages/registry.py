"""The lists of what there is: stages, verbs beyond the runner's own, and what can be served."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from stages.base import Stage
from stages.verb import Verb


@dataclass(frozen=True)
class Entry:
    """Where a module is and in which environment of `envs/` its process runs."""

    module: str
    environment: str


@dataclass(frozen=True)
class VerbEntry(Entry):
    """Where a verb's module is, in which environment it runs, and what its help says in one line."""

    summary: str


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
    "cairo.quantize": Entry("stages.cairo.quantize", "cairo"),
    "cairo.calibrate": Entry("stages.cairo.calibrate", "cairo"),
    "cairo.emit": Entry("stages.cairo.emit", "cairo"),
    "cairo.verify": Entry("stages.cairo.verify", "cairo"),
    "ezkl.quantize": Entry("stages.ezkl.quantize", "ezkl"),
    "ezkl.calibrate": Entry("stages.ezkl.calibrate", "ezkl"),
    "ezkl.emit": Entry("stages.ezkl.emit", "ezkl"),
    "ezkl.verify": Entry("stages.ezkl.verify", "ezkl"),
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

VERBS: dict[str, VerbEntry] = {
    "prove": VerbEntry("stages.ezkl.prove", "ezkl", "prove that a circuit gives its scores for an input"),
    "check-proof": VerbEntry("stages.ezkl.check_proof", "ezkl", "check a proof, and show the scores it proves"),
    "prune-keys": VerbEntry("stages.ezkl.prune", "ezkl", "list or delete proving keys that no emitted circuit uses"),
    "serve": VerbEntry("stages.serving.serve", "serve", "answer requests over HTTP with an emitted model"),
}
"""verb -> its module, whose `VERB` is a `stages.verb.Verb`"""

PREDICTORS: dict[str, Entry] = {
    "akida.emit": Entry("stages.akida.served", "akida"),
    "ezkl.emit": Entry("stages.ezkl.served", "ezkl"),
    "onnxruntime.emit": Entry("stages.onnxruntime.served", "onnx"),
    "wasm.emit": Entry("stages.wasm.served", "wasm"),
}
"""registered `emit` stage -> the module whose `load` gives what `recast serve` asks: see `stages.serving.model`"""

TRUNK = ("data", "train", "export", "import", "simplify")
"""Reserved names: no target may bear them."""


def load(name: str) -> Stage[Any]:
    """Import the stage's module, which must not import its vendor's packages at the top; KeyError if unknown."""
    stage = importlib.import_module(REGISTRY[name].module).STAGE
    if not isinstance(stage, Stage):
        raise TypeError(f"{REGISTRY[name].module}.STAGE is not a Stage")
    return stage


def load_verb(name: str) -> Verb:
    """Import the verb's module, which must not import its vendor's packages at the top; KeyError if unknown."""
    verb = importlib.import_module(VERBS[name].module).VERB
    if not isinstance(verb, Verb):
        raise TypeError(f"{VERBS[name].module}.VERB is not a Verb")
    return verb
