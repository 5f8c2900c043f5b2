"""Where the processes of stages run: here, on workers elsewhere, or wherever a plugin has them run.

An executor is a plugin: an entry point of the group `recast.executors`, whose name is the scheme of the addresses that
`recast run --on` takes for it, and whose value is a function of `Site` that gives a `StageExecutor`. DVC's bookkeeping
is none of an executor's business: that is `executor.Executor`'s, whoever runs the stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from recast.pipeline.core.errors import RecastError
from recast.pipeline.execution.events import Show
from recast.pipeline.execution.scheduler import Machine, Need
from recast.pipeline.planning.plan import PlannedStage
from recast.stages.common.spelling import did_you_mean

GROUP = "recast.executors"
ATTEMPTS = 3
"""how many workers, at most, a stage is tried on that fail it"""


@dataclass(frozen=True)
class Work:
    """One stage to be run. All of it but `stage` is names and hashes, which may be sent anywhere."""

    stage: PlannedStage
    key: str = ""
    """what the run-cache finds the result by; whoever runs it elsewhere must come to the same"""
    reads: Mapping[str, str] = field(default_factory=dict)
    """everything the key is made from: the stage's own dependencies and params, by name, with their hashes"""
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """stages that it reads, by their names in dvc.yaml -> their entries of dvc.lock"""
    gpus: tuple[str, ...] = ()
    """ids, for one that runs here"""
    timeout: float | None = None


class WorkerFailed(RecastError):
    """A worker could not do the work, which another one may: it died, is silent, lacks the remote, its disk is full."""

    def __init__(self, worker: str, reason: str) -> None:
        super().__init__(f"worker {worker}: {reason}")
        self.worker = worker
        self.reason = reason


class Submission(Protocol):
    """A stage that was submitted."""

    def wait(self) -> float:
        """Wait for its end; the seconds its own process took.

        Raises StageFailed or another RecastError if it failed, Interrupted if it was cancelled, and WorkerFailed if not
        the stage but the worker is to blame, with nothing half-done recorded.
        """

    def cancel(self) -> None:
        """Have it stopped; from another thread, and without waiting."""


class StageExecutor(Protocol):
    """Has stages run. `submit` and what it gives are called in threads of their own, several at once."""

    def submit(self, work: Work, worker: str, show: Show) -> Submission:
        """Begin with the stage on that worker (of `workers`), and show what it says of itself from any thread."""

    def workers(self) -> Mapping[str, Machine]:
        """The workers that may be given stages now -> what each has; there may be others the next time."""

    def refused(self) -> Mapping[str, str]:
        """Workers that may not -> why."""

    def close(self) -> None:
        """Stop everything; called from any thread, more than once."""


@dataclass(frozen=True)
class Site:
    """What an executor is told."""

    root: Path
    address: str
    """what stands behind `--on`"""
    say: Callable[[str], None]
    changed: Callable[[], None]
    """to be called, from any thread, when there are other workers than before"""


# those that Recast brings: a clone of it is not installed, and has no entry points
_BUILTIN = {
    "local": "recast.pipeline.execution.dask_cluster:local",
    "tcp": "recast.pipeline.execution.dask_executor:connected",
    "tls": "recast.pipeline.execution.dask_executor:connected",
}


def scheme(address: str) -> str:
    """The executor that an address is for."""
    return address.partition(":")[0]


def open_executor(site: Site) -> StageExecutor:
    """The executor of an address. Raises RecastError if there is none for it, or what it needs is not there."""
    from importlib.metadata import EntryPoint

    known = {name: EntryPoint(name, value, GROUP) for name, value in _BUILTIN.items()}
    known |= {point.name: point for point in entry_points(group=GROUP) if point.name not in known}
    found = known.get(scheme(site.address))
    if found is None or ":" not in site.address:
        forms = "'local:2', 'tcp://HOST:PORT'"
        raise RecastError(
            f"no executor for '--on {site.address}'",
            f"{did_you_mean(scheme(site.address), known)}; it is written as {forms}",
        )
    opened: StageExecutor = found.load()(site)
    return opened


def lacks(workers: Mapping[str, Machine], need: Need) -> str:
    """Why none of the workers can ever hold the stage; empty if one can."""
    reasons = {name: machine.lacks(need) for name, machine in workers.items()}
    if not reasons or not all(reasons.values()):
        return ""
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:4])
    return f"fits none of the {len(reasons)} workers ({shown})"
