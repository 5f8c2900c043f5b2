"""What the machine has, and what the stages that run side by side may use of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil

GIB = 1024**3


@dataclass(frozen=True)
class Need:
    """What one stage asks for: threads, GiB of memory (0 if it does not say), GPUs."""

    cpu: int = 1
    memory: float = 0.0
    gpu: int = 0
    labels: tuple[tuple[str, float], ...] = ()
    """how much of what else a worker may be started with, by its name"""
    elsewhere: bool = False
    """whether it is to run on a worker, not on this machine"""


@dataclass(frozen=True)
class Machine:
    """Cores this process may use, GiB of memory, and the ids of the GPUs."""

    cores: int
    memory: float
    gpus: tuple[str, ...] = ()
    labels: tuple[tuple[str, float], ...] = ()

    def lacks(self, need: Need) -> str:
        """Why the stage can never run here; empty if it can.

        More threads than cores is no reason: results depend on the number of threads, and must come out
        the same on a smaller machine. Such a stage has the machine to itself.
        """
        if need.memory > self.memory:
            return f"asks for {need.memory:g} GiB of memory, and this machine has {self.memory:.1f}"
        if need.gpu > len(self.gpus):
            return (
                f"asks for {need.gpu} GPU{'s' if need.gpu > 1 else ''}, and this machine has {len(self.gpus) or 'none'}"
            )
        has = dict(self.labels)
        for label, amount in need.labels:
            if amount > has.get(label, 0.0):
                return f"asks for {amount:g} of '{label}', and this machine has {has.get(label, 0.0):g}"
        return ""


def this_machine() -> Machine:
    """The machine this process runs on, within the limits that the system sets for it."""
    memory = psutil.virtual_memory().total
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            memory = min(memory, int(Path(limit).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return Machine(len(os.sched_getaffinity(0)), memory / GIB, _gpus(os.environ.get("CUDA_VISIBLE_DEVICES")))


@cache
def _gpus(visible: str | None) -> tuple[str, ...]:
    """Ids of the NVIDIA GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if visible is not None:
        return tuple(id for id in visible.split(",") if id.strip() and id != "-1")
    if not (tool := shutil.which("nvidia-smi")):
        return ()
    listed = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, timeout=60)
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
    return tuple(str(number) for number in range(count))


@dataclass
class Budget:
    """Shares a machine among at most `jobs` stages, so that what they use never adds up to more than it has."""

    machine: Machine
    jobs: int
    taken: dict[str, Need] = field(default_factory=dict)
    _gpus: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def lacks(self, need: Need) -> str:
        """Why the stage can never run; empty if it can."""
        return self.machine.lacks(need)

    def fits(self, need: Need, name: str = "") -> bool:
        """Whether the stage, of that name, can start now."""
        if not self.taken:
            return True  # alone, even with more threads than there are cores
        cpu = sum(other.cpu for other in self.taken.values()) + need.cpu
        memory = sum(other.memory for other in self.taken.values()) + need.memory
        gpus = sum(other.gpu for other in self.taken.values()) + need.gpu
        has = dict(self.machine.labels)
        for label, amount in need.labels:
            taken = sum(dict(other.labels).get(label, 0.0) for other in self.taken.values())
            if taken + amount > has.get(label, 0.0):
                return False
        return (
            len(self.taken) < self.jobs
            and cpu <= self.machine.cores
            and memory <= self.machine.memory
            and gpus <= len(self.machine.gpus)
        )

    @property
    def free_cores(self) -> int:
        """Cores that no running stage was given."""
        return max(0, self.machine.cores - sum(need.cpu for need in self.taken.values()))

    def take(self, name: str, need: Need) -> tuple[str, ...]:
        """Give the stage its share; the ids of the GPUs that are its own until it gives them back."""
        used = {id for ids in self._gpus.values() for id in ids}
        free = [id for id in self.machine.gpus if id not in used]
        self.taken[name] = need
        self._gpus[name] = tuple(free[: need.gpu])
        return self._gpus[name]

    def give_back(self, name: str) -> None:
        """The stage has ended."""
        del self.taken[name]
        del self._gpus[name]

    def avoid(self, name: str, worker: str) -> None:
        """The stage should not be given to that worker again, if there are others."""

    def hopeless(self, need: Need, name: str) -> str:
        """Why the stage cannot be started although nothing runs; empty if it can."""
        return ""


def remaining_path(
    seconds: Mapping[str, float], readers: Mapping[str, list[str]], order: list[str]
) -> dict[str, float]:
    """For each stage the seconds from its start to the end of the longest chain that waits for it.

    Starting the longest first keeps the makespan near the critical path (list scheduling, Graham 1969).
    `order` is one in which every stage comes after what it reads.
    """
    found: dict[str, float] = {}
    for name in reversed(order):
        found[name] = seconds[name] + max((found[reader] for reader in readers[name]), default=0.0)
    return found
