"""Files as disks and networks damage them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def overwrite(path: Path, content: bytes) -> None:
    """Write over a file with its mode and times kept, as DVC would never look at it again."""
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def damaged(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` versions of the content with a few bytes changed or missing, or the end cut off."""
    choose = np.random.default_rng(seed)
    for _ in range(count):
        made = bytearray(content)
        for _ in range(choose.integers(1, 4)):
            if not made:
                break
            at = int(choose.integers(0, len(made)))
            how = choose.integers(0, 4)
            if how == 0:
                made[at] ^= 1 << int(choose.integers(0, 8))
            elif how == 1:
                made[at] = int(choose.integers(0, 256))
            elif how == 2:
                del made[at : at + int(choose.integers(1, 40))]
            else:
                del made[at + 1 :]
        yield bytes(made)


def flipped(content: bytes, choose: random.Random) -> bytes:
    """The content with one to three bits flipped, every other one in its head; of one in five the end is cut off."""
    changed = bytearray(content)
    for _ in range(choose.randint(1, 3)):
        within = len(changed) if choose.random() < 0.5 else min(64, len(changed))
        changed[choose.randrange(within)] ^= 1 << choose.randrange(8)
    return bytes(changed[: choose.randrange(1, len(changed))] if choose.random() < 0.2 else changed)
