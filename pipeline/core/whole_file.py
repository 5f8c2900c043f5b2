"""Files that a reader, a kill and a full disk find as they were, or as they are to be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A new file beside `path` to be written, which takes its place in the end; if something fails, it is deleted."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        yield fresh
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # what hindered the writing may hinder this
            fresh.unlink(missing_ok=True)
        raise
