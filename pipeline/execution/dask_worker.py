"""`recast worker ADDRESS`: a worker of a Dask scheduler that runs stages in this checkout.

The functions of this module are what a driver has called on it, by name.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError, told
from recast.pipeline.execution.checkout import describe
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.worker_agent import Agent
from recast.pipeline.planning.plan import PlannedStage
from recast.pipeline.sharing import checks

FOLDER = ".recast/dask"
_agent: Agent | None = None


def need_distributed() -> Any:
    """The package `distributed`. Raises RecastError if it is not installed."""
    try:
        import distributed
    except ImportError as error:
        raise RecastError(
            "Dask is not installed",
            "install Recast with its extra: recast-ml[dask]; in a clone, what envs/dask.txt pins",
        ) from error
    return distributed


def serve(root: Path, address: str, name: str, machine: Machine, say: Callable[[str], None]) -> None:
    """Work for the scheduler until it ends this worker, or a signal does.

    Raises RecastError if this checkout cannot run stages for others, or no scheduler answers.
    """
    global _agent
    distributed = need_distributed()
    _refuse_unfit(root)
    _agent = Agent(root, machine, say)
    try:
        asyncio.run(_serve(distributed, root, address, name or default_name(), machine, say))
    except (OSError, TimeoutError) as error:
        raise RecastError(f"no scheduler answers at {address}: {told(error)}", "see the address") from error
    finally:
        _agent.close()


async def _serve(
    distributed: Any, root: Path, address: str, name: str, machine: Machine, say: Callable[[str], None]
) -> None:
    from dask import config

    with config.set(
        {
            "distributed.worker.daemon": False,
            "distributed.worker.memory.target": False,
            "distributed.worker.memory.spill": False,
            "distributed.worker.memory.pause": False,
            "distributed.worker.memory.terminate": False,
            "distributed.worker.profile.enabled": False,
            "distributed.admin.system-monitor.gil.enabled": False,
        }
    ):
        worker = distributed.Worker(
            address,
            name=name,
            nthreads=max(machine.cores, 1),
            resources=_resources(machine),
            local_directory=str(root / FOLDER),
            memory_limit=0,  # what stages take is in processes of their own
            dashboard=False,
            death_timeout=60,
        )
        async with worker:
            say(f"worker {name} works for {address}: {machine.cores} cores, {machine.memory:.1f} GiB")
            await worker.finished()


def default_name() -> str:
    """Of a worker that was given none."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _refuse_unfit(root: Path) -> None:
    described = describe(root)
    if described["dirty"]:
        raise RecastError(
            f"this checkout has edits that are not committed: {', '.join(described['dirty'][:5])}",
            "a worker runs what is committed: commit them, or put them away",
        )
    wrong = [check for check in checks.checks(root) if check.name in ("default remote", "remote")]
    for check in wrong:
        if check.state is checks.State.PROBLEM or "cannot be" in check.found or "can be read, not" in check.found:
            raise RecastError(f"{check.name}: {check.found}", check.remedy)


def with_labels(machine: Machine, labels: Mapping[str, float]) -> Machine:
    """The machine, and what else it was said to have."""
    return Machine(machine.cores, machine.memory, machine.gpus, tuple(sorted(labels.items())))


def _resources(machine: Machine) -> dict[str, float]:
    return {"CPU": machine.cores, "MEMORY": machine.memory, "GPU": len(machine.gpus), **dict(machine.labels)}


def resources_of(stage: PlannedStage, machine: Machine | None) -> dict[str, float]:
    """What the stage takes of a worker, as Dask counts it; one with more threads than cores takes all of them."""
    asked = stage.params["resources"]
    cores = machine.cores if machine else asked["cpu"]
    found = {"CPU": min(asked["cpu"], cores), "MEMORY": asked["memory"] or 0.0, "GPU": asked["gpu"], **stage.labels}
    return {name: amount for name, amount in found.items() if amount}


# -- called by drivers


def introduce() -> dict[str, Any]:
    """What this worker's checkout and machine are."""
    if _agent is None:
        raise RuntimeError("no agent")
    machine = _agent.machine
    has = {"cores": machine.cores, "memory": machine.memory, "gpus": machine.gpus, "labels": dict(machine.labels)}
    return {"checkout": describe(_agent.root), "machine": has}


def run_stage(text: str) -> dict[str, Any]:
    """Run the stage of a job; in a thread of the worker's."""
    from distributed import get_worker

    assert _agent
    agent, job, worker = _agent, json.loads(text), get_worker()

    def tell(said: dict[str, Any]) -> None:
        worker.log_event(job["topic"], {"token": job["token"], **said})

    with _Followed(agent.root, tell) as follow:
        return agent.run(job, follow)


def cancel(token: str) -> None:
    """Stop a stage; a thread does it, since ending a process may take seconds."""
    if _agent:
        threading.Thread(target=_agent.cancel, args=(token,), daemon=True).start()


class _Followed:
    """Tells, besides what is said of a stage, what is written into the log that it names."""

    def __init__(self, root: Path, tell: Callable[[dict[str, Any]], None]) -> None:
        self._root = root
        self._tell = tell
        self._path: Path | None = None
        self._offset = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        self._thread.start()
        return self._said

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _said(self, said: dict[str, Any]) -> None:
        if said.get("running"):
            self._path, self._offset = self._root / said["running"], 0
        self._tell(said)

    def _follow(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ended.wait(0.5)
            if self._path and self._path.is_file():
                with self._path.open("rb") as file:
                    file.seek(self._offset)
                    data = file.read(1 << 16)
                if data:
                    self._offset += len(data)
                    self._tell({"log": data.decode("utf-8", "replace")})
