"""A verb that a target, or a service over targets, adds to the command line.

Its module ends with `VERB = Verb(...)` and is listed in `stages/registry.py`. The command line imports the module to
learn its arguments, so it keeps the rule of the stages: nothing of a vendor at the top. It runs in its own
environment, in the user's working directory and on the user's terminal.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Interpreter:
    """A module of ours and the Python of the environment it runs in, for a verb that starts processes."""

    python: Path
    module: str


@dataclass(frozen=True)
class Artifacts:
    """What a run of RECIPE/TARGET has made."""

    recipe: str
    target: str
    directories: Mapping[str, Path]
    """stage -> its output directory, for the stages of the target and those of the trunk it stands on"""
    params: Mapping[str, Mapping[str, Any]]
    """stage -> its params as JSON values"""
    local: Path
    """the untracked store of this clone, for what must not be shared: `.recast/local`"""
    predictor: Interpreter | None = None
    """what answers for the emitted model, for a target that offers it: see `recast.stages.serving`"""
    beside: tuple[Artifacts, ...] = ()
    """for a verb that takes several: the other targets that the user asked for"""

    @property
    def address(self) -> str:
        """RECIPE/TARGET, as the user wrote it."""
        return f"{self.recipe}/{self.target}"


@dataclass(frozen=True)
class Verb:
    """`recast NAME RECIPE/TARGET ...`, or `recast NAME ...` for a verb that needs nothing a run has made."""

    arguments: Callable[[ArgumentParser], None]
    """adds the verb's own arguments; their values must be JSON (str, int, float, bool, list, None)"""
    run: Callable[[Mapping[str, Any], Artifacts | None], None]
    """`run(options, artifacts)`: argument name -> value, and what the run made, None without `reads`. Writes
    to the terminal. Raises StageError for what the user can mend."""
    reads: tuple[str, ...] = ()
    """stages whose output must be there; the first argument is RECIPE/TARGET if any is named"""
    several: bool = False
    """whether the first argument may also be RECIPE, for all its targets that can be served, or a release's place"""
    example: str = ""
    """a command that uses it, for its help"""
    more: str = ""
    """what its help says beyond the line in the registry"""
