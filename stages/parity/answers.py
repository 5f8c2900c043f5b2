"""What the emitted model and the float model answer, sample by sample: answers.npz, for reports.

Kept with four digits, since the rest depends on the processor, and only of as many samples as keep the file small.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recast.stages.common import samples
from recast.stages.common.samples import Taken

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = "answers.npz"
MOST_VALUES = 250_000
"""of each model's outputs"""
_DIGITS = 4


def write(out: Path, expected: Taken, actual: Taken) -> None:
    """Write the outputs (n, ...) of the float model and of the emitted one for the first samples of the test split.

    Arrays are called `float` and `emitted`, or of several outputs `float.NAME` and `emitted.NAME`.
    """
    import numpy as np

    each = sum(int(np.prod(one.shape[1:], dtype=np.int64)) for one in samples.parts(expected).values())
    count = min(len(expected), MOST_VALUES // max(1, each))
    found: dict[str, Any] = {
        f"{model}{'.' if name else ''}{name}": rounded(array[:count])
        for model, outputs in (("float", expected), ("emitted", actual))
        for name, array in samples.parts(outputs).items()
    }
    np.savez(out / FILE, **found)


def read(directory: Path) -> tuple[Any, Any]:
    """The outputs of the float model and of the emitted one, (n, ...). Raises OSError, ValueError or KeyError."""
    import numpy as np

    with np.load(directory / FILE, allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}

    def of(model: str) -> Any:
        named = {name.partition(".")[2]: array for name, array in held.items() if name.partition(".")[0] == model}
        return samples.of(named)

    return of("float"), of("emitted")


def rounded(array: NDArray[Any]) -> NDArray[Any]:
    """The values with four significant digits, as float32; whole numbers as they are."""
    import numpy as np

    if array.dtype.kind != "f":
        return array
    values = array.astype(np.float64)
    size = np.abs(np.where(np.isfinite(values) & (values != 0), values, 1.0))
    unit = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(size)))
    return (np.round(values * unit) / unit).astype(np.float32)
