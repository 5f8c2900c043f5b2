"""A target for Recast: the model as readable text and NumPy weights, run by ONNX's reference implementation."""

from pathlib import Path

from recast.stages.plugin import Entry, Plugin

_HERE = Path(__file__).parent

PLUGIN = Plugin(
    stages={
        "onnxtext.emit": Entry("recast_target_demo.emit", "onnxtext"),
        "onnxtext.verify": Entry("recast_target_demo.verify", "onnxtext"),
    },
    targets=_HERE / "targets",
    pins=_HERE / "envs",
)
