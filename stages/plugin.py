"""What a package tells Recast of itself: the stages, targets, datasets and verbs that it adds.

A package of one's own describes itself as `builtin` describes Recast's, by one `Plugin`, and names that in its entry
points: see docs/plugins.md. Nothing but the standard library is imported here, nor should be where a `Plugin` is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recast.stages.limits import Limits


class PluginError(Exception):
    """An installed plugin cannot be used: `message` says which and why, `remedy` how to mend it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True)
class Entry:
    """Where a module is and in which environment its process runs."""

    module: str
    environment: str


@dataclass(frozen=True)
class VerbEntry(Entry):
    """Where a verb's module is, in which environment it runs, and what its help says in one line."""

    summary: str


@dataclass(frozen=True)
class Browser:
    """How what a stage emits is run in a browser, in a page that has no network: by the report of `recast report`."""

    module: str
    """the file of the emitted folder that is the model; `input.json` lies beside it"""
    scripts: tuple[Path, ...]
    """JavaScript, absolute, one after the other, that defines `Model` with `create(contract, bytes)`, `normalise` and
    `predict`, `answerOf(contract, outputs, input)` of what `predict` gives, and for pictures `span`, `draw` and
    `pixelsOf`, as those of the target wasm do"""


@dataclass(frozen=True)
class Plugin:
    """What one package adds. Folders are absolute, and lie in the package."""

    stages: Mapping[str, Entry] = field(default_factory=dict)
    """registered name, `TARGET.STAGE`, -> its module, whose `STAGE` is a `recast.stages.base.Stage`"""
    targets: Path | None = None
    """the folder of stage sets: one NAME.yaml for each target"""
    pins: Path | None = None
    """the folder of pin files: one NAME.txt for each environment"""
    verbs: Mapping[str, VerbEntry] = field(default_factory=dict)
    """verb -> its module, whose `VERB` is a `recast.stages.verb.Verb`"""
    limits: Mapping[str, Limits] = field(default_factory=dict)
    """target -> how many inputs and outputs its models may have; any number of one that is not named"""
    predictors: Mapping[str, Entry] = field(default_factory=dict)
    """registered `emit` stage -> the module whose `load` gives what `recast serve` asks: see `serving.model`"""
    browsers: Mapping[str, Browser] = field(default_factory=dict)
    """registered `emit` stage -> how what it emits runs in a browser"""
    repairs: Mapping[str, Entry] = field(default_factory=dict)
    """registered `emit` stage -> the module whose `offer` says what `recast repair` can try: see `repair`"""
