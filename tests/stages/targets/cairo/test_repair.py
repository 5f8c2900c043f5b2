# environment: cairo
"""What cairo offers a repair: formats that its quantize takes, each more exact than the one before."""

from __future__ import annotations

import pytest

from recast.stages.repair import Made
from recast.stages.targets.cairo import quantize, repair, verify
from recast.stages.targets.cairo.ir.fixed_point import parse_format


@pytest.mark.parametrize("given", ["FP16x16", "FP8x23", "FP40x20", "FP40x24", "FP4x32"])
def test_every_format_is_known_and_more_exact_than_the_one_before(given: str) -> None:
    params = {
        "quantize": quantize.STAGE.params(format=given).model_dump(mode="json"),
        "verify": verify.STAGE.params().model_dump(mode="json"),
    }
    offer = repair.offer(Made({}, params))
    formats = [choice.values["quantize"]["format"] for choice in offer.ladder]
    steps = [float(parse_format(name).value(1)) for name in (given, *formats)]
    assert steps == sorted(steps, reverse=True) and len(set(steps)) == len(steps)
    # 64 bits together at most, and 32 behind the point
    assert bool(formats) == (given not in ("FP40x24", "FP4x32"))
    assert [one.name for one in offer.limits] == ["min_agreement"]
