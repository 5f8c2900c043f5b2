"""By which the samples of a dataset are known."""

from __future__ import annotations

import hashlib

import numpy as np

from recast.stages.common import samples
from recast.stages.trunk.sources import Source, spilled


def of(source: Source) -> str:
    """SHA-256 over dtype, shape and bytes of x, y and, where there are any, x_test and y_test, as read."""
    digest = hashlib.sha256()
    given = (source.x, source.y, source.x_test, source.y_test)
    for array in (one for each in given if each is not None for one in samples.parts(each).values()):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for part in spilled.parts(array):
            digest.update(np.ascontiguousarray(array[part]).data)
    return digest.hexdigest()
