"""What can be tried of a circuit: more bits behind the point, of inputs and weights.

They make a circuit larger, and its proofs slower.
"""

from __future__ import annotations

from recast.stages.parity.repair import limits
from recast.stages.repair import Choice, Figure, Made, Offer, Values, merged
from recast.stages.targets.ezkl.circuit import settings

FIGURES = (
    Figure(title="rows, as a power of two", stage="calibrate", metric="logrows", better="lower"),
    Figure(title="predicted memory, bytes", stage="calibrate", metric="predicted_memory_bytes", better="lower"),
)
MOST_MORE = 8
"""bits behind the point, beyond those of the recipe: errors that come of rounding are then 256 times smaller"""
LARGEST = 30
"""that `quantize` takes"""
WITHOUT_LIMITS: Values = {"calibrate": {"max_abs_error": None, "min_agreement": None}}
"""calibrate has limits of its own, on calibration samples"""


def offer(made: Made) -> Offer:
    """What can be tried from there."""
    ladder: list[Choice] = []
    if "calibrate" in made.directories:
        arguments = settings.read(made.directories["calibrate"] / settings.FILE).raw["run_args"]
        inputs, weights = int(arguments["input_scale"]), int(arguments["param_scale"])
        for more in range(1, MOST_MORE + 1):
            # inputs that are whole numbers need no bits behind the point
            scales = {"input_scale": inputs + more if inputs else 0, "param_scale": weights + more}
            if max(scales.values()) <= LARGEST:
                says = f"scales {scales['input_scale']} of inputs, {scales['param_scale']} of weights"
                values = {"quantize": scales} | ({"calibrate": {"scales": None}} if _chooses(made) else {})
                ladder.append(Choice(says=says, values=values))
    found = limits.with_limits(Offer(ladder=tuple(ladder), figures=FIGURES), made)
    return found.model_copy(update={"without_limits": merged(found.without_limits, WITHOUT_LIMITS)})


def _chooses(made: Made) -> bool:
    """Whether the recipe lets EZKL choose among scales, which then are not those of quantize."""
    return made.params["calibrate"]["scales"] is not None
