"""One environment: its pins, the Python it needs, and where it lies once built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARKER = "pyvenv.cfg"
"""a file that every environment has"""


_COMPILED = "recast-compiled"


@dataclass(frozen=True)
class Environment:
    """One environment: its pins, the Python it needs and where it lies once built."""

    name: str
    pins: Path
    python_version: str
    size: str
    """what it takes on disk, for people"""
    directory: Path
    torch_backend: str | None
    """which build of torch uv is to choose where nothing else decides; None without torch"""
    preload: tuple[str, ...] = ()
    """modules that a warm worker holds imported before it is given a stage"""
    base: Environment | None = None
    """the environment whose packages it has besides those of its pins, which are a project's own"""

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def is_built(self) -> bool:
        """Whether it is ready for use: it is put in place whole, but the Python it links to may have gone."""
        there = (self.directory / MARKER).is_file() and self.python.exists()
        return there and (self.base is None or self.base.is_built)

    @property
    def layers(self) -> tuple[Environment, ...]:
        """All that must be built, in that order."""
        return (*self.base.layers, self) if self.base else (self,)

    @property
    def is_compiled(self) -> bool:
        """Whether all of its bytecode is there; without it imports take longer, and give the same."""
        return all(layer.compiled.exists() for layer in self.layers)

    @property
    def compiled(self) -> Path:
        """The file that says so."""
        return self.directory / _COMPILED
