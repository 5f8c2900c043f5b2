"""What can be tried of int8 by quantize/dequantize pairs: the targets onnxruntime, wasm and c.

Settings cost next to nothing at run time: one scale for each channel, channels and biases that make up for rounding,
another way to find ranges, other weights. They help each other, so all of them at once come first, and one by one only
where that does not help: of the twelve networks of benchmarks/lossy_networks.py ten come within half a point at once.
Layers in float cost time; they are taken in the order of what each loses alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity.repair import layers, limits
from recast.stages.repair import Choice, Figure, Made, Offer, Setting, merged

FIGURES = (Figure(title="nodes in int8", stage="quantize", metric="nodes_quantized", of="nodes", better="higher"),)
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ranges that are means over samples", {"method": "mean"}),
    ("ranges that hold 99.9 % of values", {"method": "percentile", "percentile": 99.9}),
    ("ranges from the lowest to the highest value", {"method": "minmax"}),
)
"""entropy is none of them: with onnxruntime's 128 bins it gave the very ranges of minmax for all twelve networks of
benchmarks/lossy_networks.py"""
LEARNED = "rounding"
"""the setting that takes longest to make: of a large layer, minutes"""
SLOWER = "weights"
"""the setting that costs time where the processor has VNNI, though no layer goes to float"""


def offer(made: Made) -> Offer:
    """What can be tried from there. Raises StageError for a model that stays in float."""
    quantize, calibrate = made.params["quantize"], made.params["calibrate"]
    if quantize.get("scheme", "int8") != "int8":
        raise StageError("nothing is quantized: the model stays in float32", "set quantize.scheme to int8")
    settings = _each(quantize, calibrate)
    if sum(len(setting.choices) > 0 for setting in settings) > 1:
        settings.insert(0, _together(settings))
    if calibrate["samples"] is not None:
        every = Choice(says="all calibration samples", values={"calibrate": {"samples": None}})
        settings.append(Setting(name="samples", choices=(every,)))
    ladder, obstacles = _ladder(made) if "verify" in made.directories else ((), ())
    found = Offer(settings=tuple(settings), ladder=ladder, obstacles=obstacles, figures=FIGURES)
    return limits.with_limits(found, made)


def _each(quantize: Mapping[str, Any], calibrate: Mapping[str, Any]) -> list[Setting]:
    """The settings that are not taken yet; the ways to find ranges come last."""
    single: list[tuple[str, str, dict[str, dict[str, Any]]]] = []
    if not quantize["per_channel"]:
        single.append(("scales of weights", "a scale for each channel of weights", {"quantize": {"per_channel": True}}))
    if "scheme" not in quantize and quantize["weight_type"] == "int8" and quantize["reduce_range"] is not False:
        # sums of products of two uint8 cannot saturate in onnxruntime's kernels, so 8 bits are safe
        single.append(("weights", "weights of 8 bits, uint8", {"quantize": {"weight_type": "uint8"}}))
    if not quantize["equalise"]:
        single.append(("channels", "channels equalised", {"quantize": {"equalise": True}}))
    if not calibrate["bias_correction"]:
        single.append(("biases", "biases corrected", {"calibrate": {"bias_correction": True}}))
    if calibrate["weight_rounding"] == "nearest":
        single.append(("rounding", "weights rounded by GPTQ", {"calibrate": {"weight_rounding": "gptq"}}))
    settings = [Setting(name=name, choices=(Choice(says=says, values=values),)) for name, says, values in single]
    ranges = [
        Choice(says=says, values={"calibrate": values})
        for says, values in METHODS
        if any(calibrate[name] != value for name, value in values.items())
    ]
    return [*settings, Setting(name="ranges", choices=tuple(ranges))]


def _together(settings: Sequence[Setting]) -> Setting:
    """All of them at once: first without the rounding that is learned, then with it, then with what is slower as well,
    or with other ranges."""
    *single, ranges = settings
    plain = [setting.choices[0] for setting in single if setting.name not in (LEARNED, SLOWER)]
    learned, slower = ([one.choices[0] for one in single if one.name == name] for name in (LEARNED, SLOWER))
    way = list(ranges.choices)
    taken = [[*plain, *way[:1]]]
    taken += [[*plain, *learned, *way[:1]]] if learned else []
    taken += [[*slower, *plain, *learned, *way[:1]] if slower else [*plain, *learned, *way[1:2]]]
    choices = tuple(
        Choice(
            says="; ".join(choice.says for choice in one),
            values=reduce(merged, (choice.values for choice in one)),
        )
        for index, one in enumerate(taken)
        if one and one not in taken[:index]
    )
    return Setting(name="together", choices=choices, covers=tuple(setting.name for setting in settings))


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
