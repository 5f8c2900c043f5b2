"""What can be tried of a Cairo program: formats with more bits behind the point, which cost no more steps of the VM but
wider range checks.
"""

from __future__ import annotations

from recast.stages.parity.repair import limits
from recast.stages.repair import Choice, Figure, Made, Offer
from recast.stages.targets.cairo.ir.fixed_point import parse_format

FIGURES = (Figure(title="VM steps", stage="verify", metric="steps", better="lower"),)
LARGEST_WHOLE, LARGEST_FRACTION, LARGEST = 40, 32, 64
"""bits before the point, behind it, and together"""
STEP = 4
"""bits behind the point, from one format to the next"""


def offer(made: Made) -> Offer:
    """What can be tried from there."""
    name = made.params["quantize"]["format"]
    whole, fraction = (int(bits) for bits in name.removeprefix("FP").split("x"))
    parse_format(name)
    ladder = [
        Choice(says=f"format FP{whole}x{more}", values={"quantize": {"format": f"FP{whole}x{more}"}})
        for more in range(fraction + STEP, LARGEST_FRACTION + 1, STEP)
        if whole + more <= LARGEST
    ]
    return limits.with_limits(Offer(ladder=tuple(ladder), figures=FIGURES), made)
