"""What can be tried of int8 by quantize/dequantize pairs: the targets onnxruntime, wasm and c.

Settings cost nothing at run time: one scale for each channel, another way to find ranges, other weights. Layers in
float do; they are taken in the order of what each loses alone.
"""

from __future__ import annotations

import json
from typing import Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.repair import layers, limits
from recast.stages.repair import Choice, Figure, Made, Offer, Setting

FIGURES = (Figure(title="nodes in int8", stage="quantize", metric="nodes_quantized", of="nodes", better="higher"),)
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ranges that hold 99.9 % of values", {"method": "percentile", "percentile": 99.9}),
    ("ranges that hold 99.99 % of values", {"method": "percentile", "percentile": 99.99}),
    ("ranges from the lowest to the highest value", {"method": "minmax"}),
)
"""entropy is none of them: with onnxruntime's 128 bins it gave the very ranges of minmax for all twelve networks of
benchmarks/lossy_networks.py"""


def offer(made: Made) -> Offer:
    """What can be tried from there. Raises StageError for a model that stays in float."""
    quantize, calibrate = made.params["quantize"], made.params["calibrate"]
    if quantize.get("scheme", "int8") != "int8":
        raise StageError("nothing is quantized: the model stays in float32", "set quantize.scheme to int8")
    ranges = [
        Choice(says=says, values={"calibrate": values})
        for says, values in METHODS
        if any(calibrate[name] != value for name, value in values.items())
    ]
    settings: list[Setting] = []
    if not quantize["per_channel"]:
        per_channel = Choice(says="a scale for each channel of weights", values={"quantize": {"per_channel": True}})
        settings.append(Setting(name="scales of weights", choices=(per_channel,)))
    if "scheme" not in quantize and quantize["weight_type"] == "int8" and quantize["reduce_range"] is not False:
        # sums of products of two uint8 cannot saturate in onnxruntime's kernels, so 8 bits are safe
        whole = Choice(says="weights of 8 bits, uint8", values={"quantize": {"weight_type": "uint8"}})
        settings.append(Setting(name="weights", choices=(whole,)))
    settings.append(Setting(name="ranges", choices=tuple(ranges)))
    if calibrate["samples"] is not None:
        every = Choice(says="all calibration samples", values={"calibrate": {"samples": None}})
        settings.append(Setting(name="samples", choices=(every,)))
    ladder, obstacles = _ladder(made) if "verify" in made.directories else ((), ())
    found = Offer(settings=tuple(settings), ladder=ladder, obstacles=obstacles, figures=FIGURES)
    return limits.with_limits(found, made)


def _ladder(made: Made) -> tuple[tuple[Choice, ...], tuple[str, ...]]:
    """More and more layers in float; and what loses most."""
    kept = list(made.params["quantize"]["nodes_to_exclude"])
    graph = onnx_files.read_model(made.directories["quantize"] / "model.onnx", "the prepared model")
    quantized = json.loads((made.directories["quantize"] / "scheme.json").read_text(encoding="utf-8"))["quantized"]
    rungs: list[Choice] = []
    titles: list[str] = []
    found = layers.ranked(made.directories["verify"], graph)
    for layer in found:
        more = [name for name in layer.nodes if name in quantized and name not in kept]
        kept += more
        if more and len(rungs) + 1 < len(found) and set(quantized) - set(kept):  # int8 of nothing is refused
            titles.append(layer.title)
            says = f"{len(titles)} layer{'s' if len(titles) > 1 else ''} in float: {_listed(titles)}"
            rungs.append(Choice(says=says, values={"quantize": {"nodes_to_exclude": list(kept)}}))
    return tuple(rungs), tuple(layer.title for layer in found[:3])


def _listed(titles: list[str]) -> str:
    return ", ".join(titles) if len(titles) <= 3 else f"{', '.join(titles[:2])} … {titles[-1]}"
