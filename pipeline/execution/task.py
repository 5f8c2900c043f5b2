"""What a run is told, what it knows of a step before it starts, and who runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Show
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.execution.scheduler import Machine, Need
from recast.pipeline.sharing.claims import LEASE_SECONDS


@dataclass(frozen=True)
class Options:
    """How to run: see `recast run --help`."""

    jobs: int
    force: bool = False
    keep_going: bool = True
    pull: bool = False
    push: bool = False
    """whether what has finished is sent to the DVC remote while the run goes on"""
    on: str = ""
    """the address of workers that run the stages; empty if they run here. Takes `share`"""
    share: bool = False
    """whether stages are claimed in the remote, so that runs elsewhere wait for them; takes `pull` and `push`"""
    lease: float = LEASE_SECONDS
    """seconds after which a claim ends whose holder is heard of no more"""
    retries: int = 0
    warm: bool = True
    """whether stages of one environment share a process that has imported its packages"""
    timeout: float | None = None
    """seconds that one stage may take"""


@dataclass(frozen=True)
class Conditions:
    """Where and how a run goes on."""

    root: Path
    options: Options
    machine: Machine
    show: Show
    interrupts: Interrupts


@dataclass(frozen=True)
class Task:
    """How a step is shown and what it needs."""

    title: str
    need: Need = field(default_factory=Need)
    seconds: float | None = None
    """what it took when it last ran here"""
    by_shell: bool = True
    """whether the user's shell runs it"""


class Runner(Protocol):
    """Runs the commands of steps; `run` is called in threads of its own, several at once."""

    def task(self, step: Step) -> Task:
        """What the step is called and needs."""

    def is_as_before(self, step: Step) -> bool:
        """Whether what the step will be run with is still what it was at the last call for it, or when the run began.

        Raises RecastError if the step cannot be run as it is now.
        """

    def records(self, step: Step) -> bool:
        """Whether what the step has just left may be recorded; asked once it has ended well."""

    def held(self, step: Step) -> Mapping[str, int] | None:
        """Files that the step that has just ended had read whole at once, and that were edited after it had.

        By their whole path, when they were last modified as they were read, in nanoseconds. None if nothing that was
        edited meanwhile makes its result another's.
        """

    def is_elsewhere(self, step: Step) -> bool:
        """Whether the step runs on a worker, which leaves its result in the remote."""

    def hand_over(self, step: Step, key: str, reads: dict[str, str], entries: dict[str, dict[str, Any]]) -> None:
        """What a worker has to know of a step that `is_elsewhere`: the fields of `Work`."""

    def run(self, step: Step, gpus: Sequence[str], show: Show) -> float | None:
        """Run it to its end, saying that it runs; the seconds it took, or None if all of the time counts.

        Raises RecastError, with nothing half-written left, if it fails or is stopped.
        """

    def prepare(self, step: Step) -> None:
        """A core is free and the step may soon run: begin what it waits for first. Does not wait."""

    def expect(self, steps: Sequence[Step], show: Show) -> None:
        """These steps will run unless one before them fails, the first first: make ready what that takes.

        Does not wait; `show` may be called from any thread until `stop`.
        """

    def ended(self, step: Step) -> None:
        """The step will not run again, or not at all."""

    def stop(self) -> None:
        """Stop every step that runs, within seconds; called from another thread."""
