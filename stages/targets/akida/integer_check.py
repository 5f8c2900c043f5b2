"""Refuse an akida model that computes something else than the integer model it was converted from.

Both compute in integers, so only a last one may round differently. Where more differs, one of BrainChip's tools is at
fault, and agreement on the class need not show it. Seen where convolutions of 3x3 follow a global average pool.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.onnx_models import onnx_files
from recast.stages.parity import metrics
from recast.stages.targets.akida import layout as layouts
from recast.stages.targets.akida import runtime
from recast.stages.targets.akida.form import IntegerForm
from recast.stages.targets.akida.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 16


def require(integers: onnx_files.Model, emitted: Path, data: Path, takes: str, layout: Layout, threads: int) -> float:
    """The SQNR in dB of akida's scores against the integer model's, on the first calibration samples.

    `takes`: "stored" or "normalised", as the scheme says. Raises StageError where it is below `parity.SAME_DB`.
    """
    from recast.stages.common import dataset

    stored = dataset.read_stored(data, "calibration")[0][:SAMPLES]
    x = dataset.read(data, "calibration")[0][:SAMPLES]
    form = IntegerForm(integers, threads, "the integer model", dataset.read_contract(data), takes, layout.start)
    return require_same(form, x, runtime.predictor(emitted)(stored), layout)


def require_same(form: IntegerForm, x: NDArray[Any], actual: NDArray[Any], layout: Layout, of: str = "scores") -> float:
    """The same, of what both gave for normalised samples; `of`: what that is, for messages."""
    expected = layouts.apply(form.output_for(x), layout.finish).reshape(actual.shape)
    kept = metrics.difference(expected, actual).sqnr_db
    if kept < metrics.SAME_DB:
        raise StageError(
            f"akida computes something else than the integer model it was converted from: its {of} keep "
            f"{kept:.1f} dB of that one's, where rounding alone keeps {metrics.SAME_DB:g}",
            "change the layers behind the last pool, such as a convolution over a map of one pixel, which can be a "
            "dense layer; and report it with the model",
        )
    return kept
