"""One file's say about a stage, or about what several stages of a recipe are told: its model, its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recast.pipeline.recipes.document import Document, KeyPath


@dataclass(frozen=True)
class Layer:
    """What one file says about a stage."""

    document: Document
    path: KeyPath
    values: Mapping[str, Any]
    owner: str | None
    """the recipe the file is; None for defaults that recipes share"""
    is_a_plugins: bool = False
    """whether the file is installed, so that what it says is in a digest and not tracked"""

    @property
    def tracked(self) -> tuple[str, str]:
        """(file, dotted key): what DVC watches; at the top of a file, the one key it is about."""
        return self.document.file, ".".join(str(key) for key in self.path or self.values)
