"""Find the ranges of activations and make the int8 model, as `recast.stages.common.int8.qdq_model` does."""

from __future__ import annotations

from recast.stages.base import Stage
from recast.stages.common.int8.qdq_model import CalibrateParams, calibrate

STAGE = Stage(params=CalibrateParams, inputs=("quantize", "data"), run=calibrate)
