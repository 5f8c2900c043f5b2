"""What can be tried of an Akida model. It is integers throughout, so no layer can stay in float: what the model takes,
how many samples its ranges come from, how many scales an activation has, and how far apart channels of dense layers
lie.
"""

from __future__ import annotations

import json

from recast.stages.common import loss_ranking
from recast.stages.parity.repair import layers, limits
from recast.stages.repair import Choice, Figure, Made, Offer, Setting
from recast.stages.targets.akida.hybrid import parts
from recast.stages.targets.akida.prepared import KINDS

FIGURES = (Figure(title="layers in hardware", stage="emit", metric="layers_in_hardware", of="layers", better="higher"),)
SAMPLES = (32, 512, 1024)
"""fewer are no mistake: ranges from lowest to highest grow with every sample"""


def offer(made: Made) -> Offer:
    """What can be tried from there."""
    if not made.directories:
        return limits.with_limits(Offer(figures=FIGURES), made)
    quantize, calibrate = made.params["quantize"], made.params["calibrate"]
    there = json.loads((made.directories["data"] / "metrics.json").read_text(encoding="utf-8"))["calibration_samples"]
    counts = sorted({min(count, there) for count in SAMPLES} - {calibrate["samples"]})
    settings = [
        Setting(
            name="samples",
            choices=tuple(
                Choice(says=f"{count} calibration samples", values={"calibrate": {"samples": count}})
                for count in counts
            ),
        ),
        Setting(
            name="scales of activations",
            choices=(
                Choice(
                    says="one scale per activation"
                    if not quantize["per_tensor_activations"]
                    else "a scale for each channel of an activation",
                    values={"quantize": {"per_tensor_activations": not quantize["per_tensor_activations"]}},
                ),
            ),
        ),
        Setting(name="input", choices=_inputs(made)),
    ]
    if calibrate["percentile"] == 100:
        held = Choice(says="ranges that hold 99 % of the samples", values={"calibrate": {"percentile": 99}})
        settings.append(Setting(name="ranges", choices=(held,)))
    if not quantize["equalise"]:
        # a dense layer's activation has one scale; those of a convolution take up what differs between channels
        equalised = Choice(says="channels equalised", values={"quantize": {"equalise": True}})
        settings.append(Setting(name="channels", choices=(equalised,)))
    obstacles = []
    if "verify" in made.directories and (found := layers.conversion(made.directories["verify"])):
        obstacles = [loss_ranking.title(layer) for layer in loss_ranking.ranked(found)[:3]]
    return limits.with_limits(Offer(settings=tuple(settings), obstacles=tuple(obstacles), figures=FIGURES), made)


def _inputs(made: Made) -> tuple[Choice, ...]:
    """Other inputs than the emitted model takes; one that cannot be made is refused by `quantize` with its reason."""
    if parts.are_in(made.directories["quantize"]):
        return ()  # each part has its own
    scheme = json.loads((made.directories["quantize"] / "scheme.json").read_text(encoding="utf-8"))
    return tuple(
        Choice(
            says=f"{kind.values} samples as {kind.type}",
            values={"quantize": {"input": kind.values, "input_type": kind.type}},
        )
        for kind in KINDS
        if (kind.values, kind.type) != (scheme["input"], scheme["input_type"])
    )
