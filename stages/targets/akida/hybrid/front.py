"""What parts on Akida read, as the float model computes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.common import samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida.hybrid.parts import FRONT, Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray


def values(quantized: Path, parts: Parts, x: NDArray[Any], threads: int) -> dict[str, NDArray[Any]]:
    """Tensor -> (N, ...) for normalised samples, of all that parts on Akida read but the model's input.

    `quantized`: what `quantize` wrote.
    """
    path = quantized / FRONT
    if not any(part.reads[0] != parts.input for part in parts.akida):
        return {}
    session = onnx_files.Session(path, threads, "the float model in front of the parts on Akida")
    return samples.named(session.run(x), session.outputs)
