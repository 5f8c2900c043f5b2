"""A module of models that a test writes, as one of the project whose stage runs them."""

from __future__ import annotations

from pathlib import Path

import pytest


def lay(root: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the module below `root`, which is the project from then on; the module's name, fresh in each test."""
    module = f"nets_{root.name}"
    (root / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(root)
    monkeypatch.chdir(root)
    return module
