"""What a stage is: typed params, named inputs, one output directory, one environment.

Every stage depends on this module, so editing it re-runs everything: keep it small. It imports
nothing but the standard library and pydantic, which every environment holds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# One line of a stage's output that starts with this character is an event for the runner, as JSON;
# every other line is the tools' own noise and goes to the log.
EVENT_MARK = "\x1e"

Metrics = dict[str, Any]


class StageError(Exception):
    """A stage cannot do what its recipe asks: `message` says what is wrong, each of `remedies` one way to mend it.

    A remedy that names a param, such as `export.opset`, is shown only in recipes that have it; so where some recipes
    have it and others have not, give one for each.
    """

    def __init__(self, message: str, *remedies: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedies = tuple(remedy for remedy in remedies if remedy)

    @property
    def remedy(self) -> str:
        """All remedies in one line."""
        return ", or ".join(self.remedies)


class Resources(BaseModel):
    """What a stage asks of the machine; part of its key, since the thread count changes float sums."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: int = Field(default=1, ge=1, description="threads the stage may use")
    memory: float | None = Field(default=None, gt=0, description="memory the stage needs, in GiB; not known if null")
    gpu: int = Field(default=0, ge=0, description="GPUs the stage needs for itself")
    isolated: bool = Field(default=False, description="run in a process started for it, not forked from a warm one")


class Params(BaseModel):
    """Base of every stage's params: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resources: Resources = Field(default=Resources(), description="what the stage asks of the machine")


class NamedByRecipe:
    """Marks a param as a file or folder in the repository, which DVC then tracks."""


def inside_repository(path: str) -> str:
    """The path, written plainly. ValueError, which says what it must be, if it is none of the repository."""
    parts = PurePosixPath(path).parts
    if not path or path.startswith(("/", "~")) or ".." in parts or "\\" in path or ":" in path or "\n" in path:
        raise ValueError("must be a path relative to the repository that stays inside it, with forward slashes")
    return str(PurePosixPath(path))


RepositoryPath = Annotated[str, AfterValidator(inside_repository), NamedByRecipe()]
"""A file or folder of the repository, relative to its root, with forward slashes."""


class NamesCode:
    """Marks a param that may name a function or a class of the project, `module:name`, whose code DVC then tracks."""


def names_code(text: str) -> bool:
    """Whether it has the form `module:name`."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _model_reference(reference: str) -> str:
    if not names_code(reference):
        raise ValueError("must be 'module:Class', for example 'models.mnist_cnn:MnistCnn'")
    return reference


class ModelReference(BaseModel):
    """The `nn.Module` a recipe names, with the arguments its constructor is called with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_model_reference)] = Field(description="module:Class")
    args: dict[str, Any] = Field(default={}, description="keyword arguments of the constructor")


Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Source:
    """A folder of Recast's own that a stage reads though no module imports it: C, Zig or clients.

    DVC tracks it as it does the stage's modules.
    """

    name: str
    """what `Inputs.sources` calls it"""
    package: str
    """the package it lies in: `__package__` of a module beside it"""
    folder: str

    @property
    def path(self) -> Path:
        """Where it lies, absolute."""
        return (Path(str(resources.files(self.package))) / self.folder).resolve()


@dataclass(frozen=True)
class ProjectCode:
    """Where the code of a project is: what `params.yaml` says of it."""

    root: Path = field(default_factory=Path.cwd)
    """the repository"""
    import_roots: tuple[str, ...] = (".",)
    """its folders, relative, in which Python looks for its packages and modules, in that order"""
    model_packages: tuple[str, ...] = ()
    """packages among its requirements, or modules of them, that recipes may name models of"""


@dataclass(frozen=True)
class Inputs:
    """What a stage reads. `inputs["data"]` is the output directory of the upstream stage `data`."""

    directories: Mapping[str, Path]
    files: Mapping[str, Path] = field(default_factory=dict)
    """param name -> absolute path, for every param of type `RepositoryPath` that is set"""
    data_roots: tuple[Path, ...] = ()
    """places where downloaded datasets lie; searched in order, a download goes to the first"""
    scratch: Path = Path()
    """an empty directory of the stage's own, outside its output, deleted when it ends"""
    device: str = "cpu"
    """what `device: auto` means on this machine: cpu, cuda or mps"""
    sources: Mapping[str, Path] = field(default_factory=dict)
    """name -> absolute path, for every `Source` of the stage"""
    project: ProjectCode = field(default_factory=ProjectCode)
    """where the model comes from, for a stage that makes it"""

    def __getitem__(self, stage: str) -> Path:
        return self.directories[stage]


def progress(text: str, done: int | None = None, total: int | None = None) -> None:
    """Show one short live line, for example `epoch 3/10, loss 0.12`; never part of the output."""
    emit_event({"progress": text, "done": done, "total": total})


def note(text: str) -> None:
    """Say something to know of the data or the model that stops nothing; the run shows it, and the log has it."""
    emit_event({"note": text})


def record_timing(name: str, seconds: float) -> None:
    """Keep a time, which must never enter a hashed output, where tables and reports find it."""
    emit_event({"timing": name, "seconds": seconds})


def emit_event(event: Mapping[str, Any]) -> None:
    """Write one event, a JSON object, to the runner that reads this process's output."""
    sys.stdout.write(f"{EVENT_MARK}{json.dumps(event)}\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Plot:
    """A table in a stage's output that `dvc plots show` draws; x and y name its columns."""

    file: str
    x: str
    y: tuple[str, ...]
    template: str = "linear"
    title: str = ""


P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Stage(Generic[P]):
    """One unit of work. A stage module ends with `STAGE = Stage(params=..., inputs=..., run=run)`."""

    params: type[P]
    run: Callable[[P, Inputs, Path], Metrics]
    """`run(params, inputs, out)` writes only below `out` and returns metrics, which become
    `out/metrics.json`: deterministic values only, no times. Raises StageError."""
    inputs: tuple[str, ...] = ()
    """names of the upstream stages whose output directories `run` reads"""
    sources: tuple[Source, ...] = ()
    """folders of Recast's own that `run` reads"""
    stands_for: str | None = None
    """the trunk stage whose place this one can take (`import` stands for `export`)"""
    plots: tuple[Plot, ...] | Callable[[P], tuple[Plot, ...]] = ()
    """tables in its output that can be drawn; a function of the params where these decide which"""
    emits: str | None = None
    """the file in the output directory that is the deployable artifact, for stages that make one"""
    ships: tuple[str, ...] = ()
    """glob patterns of the files that compute the scores, where those are more than `emits`: their sum is the size"""
    reports: str | None = None
    """the file in the output directory in which a stage that verifies what its target emits says how that compares with
    the float model, for `recast blame`; its metrics hold `agreement`, and as `metric` the name of what is shown in
    tables, NAME, whose values are `NAME_float` and `NAME_emitted`; `is_share` says whether it is a share of one"""
    in_summary: bool = False
    """whether its metrics are results of the recipe even where other stages read its output"""

    def plots_for(self, params: Mapping[str, Any]) -> tuple[Plot, ...]:
        """The tables it makes with these params, given as JSON values."""
        return self.plots(self.params.model_validate_json(json.dumps(params))) if callable(self.plots) else self.plots

    @property
    def source_paths(self) -> dict[str, Path]:
        """`Inputs.sources` of the stage."""
        return {source.name: source.path for source in self.sources}
