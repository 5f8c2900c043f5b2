"""One file's say about a stage, or about a recipe's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.document import Document, KeyPath


@dataclass(frozen=True)
class Layer:
    """What one file says about a stage."""

    document: Document
    path: KeyPath
    values: Mapping[str, Any]
    owner: str | None
    """the recipe the file is; None for defaults that recipes share"""

    @property
    def tracked(self) -> tuple[str, str]:
        """(file, dotted key): what DVC watches."""
        return self.document.file, ".".join(str(key) for key in self.path)
