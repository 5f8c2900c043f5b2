"""What Recast brings itself, described as a plugin describes what it adds."""

from __future__ import annotations

from recast.stages import PACKAGE
from recast.stages.limits import Limits
from recast.stages.plugin import Browser, Entry, Plugin, VerbEntry

_STAGES = {
    # the trunks' stages
    "data": Entry("recast.stages.trunk.data", "torch"),
    "train": Entry("recast.stages.trunk.train", "torch"),
    "export": Entry("recast.stages.trunk.export", "torch"),
    "inputs": Entry("recast.stages.trunk.inputs", "onnx"),
    "import": Entry("recast.stages.trunk.import_onnx", "onnx"),
    "simplify": Entry("recast.stages.trunk.simplify", "onnx"),
    # targets
    "akida.quantize": Entry("recast.stages.targets.akida.quantize", "akida"),
    "akida.calibrate": Entry("recast.stages.targets.akida.calibrate", "akida"),
    "akida.emit": Entry("recast.stages.targets.akida.emit", "akida"),
    "akida.verify": Entry("recast.stages.targets.akida.verify", "akida"),
    "c.emit": Entry("recast.stages.targets.c.emit", "wasm"),
    "c.verify": Entry("recast.stages.targets.c.verify", "wasm"),
    "cairo.quantize": Entry("recast.stages.targets.cairo.quantize", "cairo"),
    "cairo.calibrate": Entry("recast.stages.targets.cairo.calibrate", "cairo"),
    "cairo.emit": Entry("recast.stages.targets.cairo.emit", "cairo"),
    "cairo.verify": Entry("recast.stages.targets.cairo.verify", "cairo"),
    "ezkl.quantize": Entry("recast.stages.targets.ezkl.quantize", "ezkl"),
    "ezkl.calibrate": Entry("recast.stages.targets.ezkl.calibrate", "ezkl"),
    "ezkl.emit": Entry("recast.stages.targets.ezkl.emit", "ezkl"),
    "ezkl.verify": Entry("recast.stages.targets.ezkl.verify", "ezkl"),
    "onnxruntime.quantize": Entry("recast.stages.targets.onnxruntime.quantize", "onnx"),
    "onnxruntime.calibrate": Entry("recast.stages.targets.onnxruntime.calibrate", "onnx"),
    "onnxruntime.emit": Entry("recast.stages.targets.onnxruntime.emit", "onnx"),
    "onnxruntime.verify": Entry("recast.stages.targets.onnxruntime.verify", "onnx"),
    "wasm.quantize": Entry("recast.stages.targets.wasm.quantize", "onnx"),
    "wasm.calibrate": Entry("recast.stages.targets.wasm.calibrate", "onnx"),
    "wasm.emit": Entry("recast.stages.targets.wasm.emit", "wasm"),
    "wasm.verify": Entry("recast.stages.targets.wasm.verify", "wasm"),
    "zml.emit": Entry("recast.stages.targets.zml.emit", "torch"),
    "zml.verify": Entry("recast.stages.targets.zml.verify", "zml"),
}

_VERBS = {
    "prove": VerbEntry(
        "recast.stages.targets.ezkl.proof.prove", "ezkl", "prove that a circuit gives its scores for an input"
    ),
    "check-proof": VerbEntry(
        "recast.stages.targets.ezkl.proof.check_proof", "ezkl", "check a proof, and show the scores it proves"
    ),
    "prune-keys": VerbEntry(
        "recast.stages.targets.ezkl.keys.prune", "ezkl", "list or delete proving keys that no emitted circuit uses"
    ),
    "serve": VerbEntry("recast.stages.serving.serve", "serve", "answer requests over HTTP with an emitted model"),
}

_PREDICTORS = {
    "akida.emit": Entry("recast.stages.targets.akida.served", "akida"),
    "c.emit": Entry("recast.stages.targets.c.served", "wasm"),
    "ezkl.emit": Entry("recast.stages.targets.ezkl.served", "ezkl"),
    "onnxruntime.emit": Entry("recast.stages.targets.onnxruntime.served", "onnx"),
    "wasm.emit": Entry("recast.stages.targets.wasm.served", "wasm"),
}

_CLIENTS = PACKAGE / "stages" / "targets" / "wasm" / "clients"
_BROWSERS = {
    "wasm.emit": Browser("model.wasm", tuple(_CLIENTS / f"{script}.js" for script in ("model", "answers", "pictures"))),
}

_LIMITS = {
    "akida": Limits(1, 1, "a model of akida is one chain of layers, from one input to one output"),
    "c": Limits(),
    "cairo": Limits(1, 1, "the emitted program reads one input and gives one output"),
    "ezkl": Limits(1, 1, "a proof here is of one input and one output"),
    "onnxruntime": Limits(),
    "wasm": Limits(),
    "zml": Limits(1, 1, "the emitted Zig has one input and one output"),
}

_REPAIRS = {
    "akida.emit": Entry("recast.stages.targets.akida.repair", "akida"),
    "c.emit": Entry("recast.stages.parity.repair.int8", "onnx"),
    "cairo.emit": Entry("recast.stages.targets.cairo.repair", "cairo"),
    "ezkl.emit": Entry("recast.stages.targets.ezkl.repair", "ezkl"),
    "onnxruntime.emit": Entry("recast.stages.parity.repair.int8", "onnx"),
    "wasm.emit": Entry("recast.stages.parity.repair.int8", "onnx"),
}

PLUGIN = Plugin(
    stages=_STAGES,
    targets=PACKAGE / "recipes" / "targets",
    pins=PACKAGE / "envs",
    verbs=_VERBS,
    limits=_LIMITS,
    predictors=_PREDICTORS,
    browsers=_BROWSERS,
    repairs=_REPAIRS,
)
