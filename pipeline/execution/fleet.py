"""What the workers of an executor have, and which stage is given to which of them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from recast.pipeline.execution.scheduler import Budget, Machine, Need
from recast.pipeline.execution.stage_executor import StageExecutor, lacks

PAUSE_SECONDS = 120.0
"""for so long a worker that could not do a stage is given none, after the second time for twice as long, and so on"""


class Fleet(Budget):
    """A budget over this machine, for what must run here, and over workers, for stages that may run elsewhere."""

    def __init__(self, machine: Machine, jobs: int, executor: StageExecutor) -> None:
        super().__init__(machine, jobs)
        self._executor = executor
        self._budgets: dict[str, Budget] = {}
        self._avoided: dict[str, set[str]] = {}
        self._doubtful: dict[str, tuple[int, float]] = {}
        """workers that could not do a stage -> how often, and until when they are given none"""
        self.placed: dict[str, str] = {}
        """stages that run elsewhere -> the worker"""

    def lacks(self, need: Need) -> str:
        return lacks(self._executor.workers(), need) if need.elsewhere else super().lacks(need)

    def fits(self, need: Need, name: str = "") -> bool:
        if not need.elsewhere:
            return super().fits(need, name)
        return self._place(need, name) is not None

    def take(self, name: str, need: Need) -> tuple[str, ...]:
        if not need.elsewhere:
            return super().take(name, need)
        worker = self._place(need, name)
        assert worker is not None, name
        self._budgets[worker].take(name, need)
        self.placed[name] = worker
        return ()  # the worker knows which are free

    def give_back(self, name: str) -> None:
        if worker := self.placed.pop(name, None):
            self._budgets[worker].give_back(name)
        else:
            super().give_back(name)

    def avoid(self, name: str, worker: str) -> None:
        """Give the stage to others, as long as there are others; and for a while others every stage.

        One that is broken fails at once, and has room for the next: it would be given all there are, one by one.
        """
        self._avoided.setdefault(name, set()).add(worker)
        times, _ = self._doubtful.get(worker, (0, 0.0))
        self._doubtful[worker] = times + 1, time.monotonic() + PAUSE_SECONDS * 2**times

    def hopeless(self, need: Need, name: str) -> str:
        """Why the stage cannot be started although nothing runs; empty if it can."""
        if not need.elsewhere or self._place(need, name) is not None:
            return ""
        workers = self._executor.workers()
        refused = "".join(f"; {name} was refused: {why}" for name, why in self._executor.refused().items())
        return (lacks(workers, need) if workers else "no worker is left to run it") + refused

    def _place(self, need: Need, name: str) -> str | None:
        """The worker with the most cores to spare; None if each that could hold the stage is busy."""
        there = self._executor.workers()
        # one that comes back is another process
        self._doubtful = {worker: since for worker, since in self._doubtful.items() if worker in there}
        now = time.monotonic()
        paused = {worker for worker, (_, until) in self._doubtful.items() if now < until}
        workers = self._able(there, need)
        for avoided in (self._avoided.get(name, set()), paused):
            if any(worker not in avoided for worker in workers):
                workers = {worker: machine for worker, machine in workers.items() if worker not in avoided}
        best, most = None, -1
        for worker, machine in workers.items():
            budget = self._budgets.get(worker)
            if budget is None or budget.machine != machine:
                taken = budget.taken if budget else {}
                budget = self._budgets[worker] = Budget(machine, max(machine.cores, 1))
                for other, taking in taken.items():
                    budget.take(other, taking)
            if budget.fits(need) and budget.free_cores > most:
                best, most = worker, budget.free_cores
        return best

    @staticmethod
    def _able(workers: Mapping[str, Machine], need: Need) -> dict[str, Machine]:
        return {worker: machine for worker, machine in workers.items() if not machine.lacks(need)}
