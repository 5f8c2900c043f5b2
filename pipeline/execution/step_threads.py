"""Runs steps, each in a thread of its own; what they say and how they end comes in one queue."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Changed, Event, State
from recast.pipeline.execution.task import Runner


@dataclass
class RunEnded:
    """A step's commands have ended."""

    name: str
    seconds: float
    """without what came before its process began, if the runner knows it"""
    error: Exception | None


class StepThreads:
    """The queue, and the threads that write to it."""

    def __init__(self) -> None:
        # `None` wakes the reader up for an interrupt; a SimpleQueue may be written to by a signal's handler
        self._messages: queue.SimpleQueue[RunEnded | Event | None] = queue.SimpleQueue()
        self._put_off: list[RunEnded | Event | None] = []

    def start(self, step: Step, gpus: Sequence[str], runner: Runner) -> None:
        """Run the step by the runner."""
        threading.Thread(target=self._run, args=(step, gpus, runner), name=f"run {step.name}", daemon=True).start()

    def _run(self, step: Step, gpus: Sequence[str], runner: Runner) -> None:
        started = time.monotonic()
        error: Exception | None = None
        took: float | None = None
        try:
            took = runner.run(step, gpus, self._messages.put)
        except Exception as raised:
            error = raised
        self._messages.put(RunEnded(step.name, time.monotonic() - started if took is None else took, error))

    def tell(self, event: Event) -> None:
        """Something to show that no step says; from any thread."""
        self._messages.put(event)

    def wake(self) -> None:
        """Let whoever waits for a message look up."""
        self._messages.put(None)

    def get(self) -> RunEnded | Event | None:
        """The next message; waits for it."""
        return self._put_off.pop(0) if self._put_off else self._messages.get()

    @property
    def has_message(self) -> bool:
        """Whether `get` would not have to wait."""
        return bool(self._put_off) or not self._messages.empty()

    def until_running(self, title: str) -> list[Event]:
        """Wait until the step says that it runs, or ends; what was said until then. The rest is left for `get`."""
        said: list[Event] = []
        while True:
            message = self._messages.get()
            if message is None or isinstance(message, RunEnded):
                self._put_off.append(message)
                return said
            said.append(message)
            if isinstance(message, Changed) and message.state is State.RUNNING and message.stage == title:
                return said
