"""One DVC stage as a run sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """One DVC stage that a run may have to do."""

    name: str
    """as DVC addresses it: its name in dvc.yaml, or `folder/dvc.yaml:name`"""
    commands: tuple[str, ...]
    """what the shell runs, one after the other; empty for data sources, imports and frozen stages, which DVC does"""
    reads: tuple[str, ...]
    """names of the steps whose outputs it depends on"""
    folder: str
    """where its commands run"""
    after: tuple[str, ...] = ()
    """names of steps that must have ended, well or not: a frozen stage's inputs are hashed while nobody writes them"""
    stage: Any = field(default=None, compare=False, repr=False)
    """DVC's own; None before DVC was asked"""

    @property
    def makes_lock_entry_only(self) -> bool:
        """Whether the run-cache cannot bring its result back, so that dvc.lock must know it at once."""
        outs = self.stage.outs
        uncached = any(not out.use_cache for out in outs if not (out.is_metric or out.is_plot))
        remote = any(dep.protocol != "local" for dep in self.stage.deps)
        return uncached or not outs or not self.stage.deps or remote or any(out.persist for out in outs)
