"""Prepare the graph for int8 and fix the scheme, as `qdq_scheme` does. Ranges come in `calibrate`."""

from __future__ import annotations

from recast.stages.base import Stage
from recast.stages.common.int8.qdq_scheme import QuantizeParams, quantize

STAGE = Stage(params=QuantizeParams, inputs=("simplify",), run=quantize)
