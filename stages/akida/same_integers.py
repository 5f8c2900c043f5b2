"""Refuse an akida model that computes something else than the integer model it was converted from.

Both compute in integers, so only a last one may round differently. Where more differs, one of BrainChip's tools is at
fault, and agreement on the class need not show it. Seen where convolutions of 3x3 follow a global average pool.
"""

from __future__ import annotations

from pathlib import Path

from stages import onnx_files, parity
from stages.akida import layers, runtime
from stages.base import StageError

SAMPLES = 16


def require(integers: onnx_files.Model, emitted: Path, data: Path, takes: str, threads: int) -> float:
    """The SQNR in dB of akida's scores against the integer model's, on the first calibration samples.

    `takes`: "stored" or "normalised", as the scheme says. Raises StageError where it is below `parity.SAME_DB`.
    """
    from stages import dataset

    stored = dataset.read_stored(data, "calibration")[0][:SAMPLES]
    x = dataset.read(data, "calibration")[0][:SAMPLES]
    form = layers.IntegerForm(integers, threads, "the integer model", dataset.read_contract(data), takes)
    expected = form.values(x)[form.output].reshape(len(x), -1)
    kept = parity.difference(expected, runtime.predictor(emitted)(stored)).sqnr_db
    if kept < parity.SAME_DB:
        raise StageError(
            "akida computes something else than the integer model it was converted from: its scores keep "
            f"{kept:.1f} dB of that one's, where rounding alone keeps {parity.SAME_DB:g}",
            "change the layers behind the last pool, such as a convolution over a map of one pixel, which can be a "
            "dense layer; and report it with the model",
        )
    return kept
