"""Samples and what the model gives for them, which `export` and `import` write and later stages compare with.

reference.safetensors holds `input` (N, *shape) and `output` (N, ...); `input.NAME` and `output.NAME` where there are
several, by the names that they have in the ONNX model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recast.stages.base import StageError
from recast.stages.common import samples
from recast.stages.common.samples import Taken

FILE = "reference.safetensors"
_PARTS = ("input", "output")


def write(path: Path, given: Taken, made: Taken) -> None:
    """Write what the model takes, and what it gives for that."""
    import numpy as np
    from safetensors.numpy import save

    tensors = {
        f"{part}.{name}" if name else part: np.ascontiguousarray(array)
        for part, x in zip(_PARTS, (given, made), strict=True)
        for name, array in samples.parts(x).items()
    }
    # not save_file, which would make the file unreadable to others, whatever the umask
    path.write_bytes(save(tensors))


def read(path: Path) -> tuple[Any, Any]:
    """What the model takes (N, *shape), and what it gives for that (N, ...); StageError if unreadable."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        return _part(tensors, "input"), _part(tensors, "output")
    except (OSError, KeyError, SafetensorError) as error:
        raise StageError(
            f"cannot read the reference outputs {path.name}: {error}", "run the recipe again, which makes it anew"
        ) from error


def _part(tensors: dict[str, Any], part: str) -> Any:
    several = {name.removeprefix(f"{part}."): array for name, array in tensors.items() if name.startswith(f"{part}.")}
    return samples.Samples(several) if several else tensors[part]
