"""What a run sends to the DVC remote while it goes on: each result when it is there, as long as nothing else waits."""

from __future__ import annotations

from collections.abc import Callable

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.listed import listed
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Message, Show
from recast.pipeline.execution.interrupts import Interrupts


class Pushes:
    """The results that are still to be sent.

    Called by the thread with DVC's books. What waits is sent together: to ask the remote what it lacks costs as much
    for one result as for many. If that fails twice the run goes on, and it is tried once more at the end.
    """

    def __init__(self, repository: Repository, interrupts: Interrupts, show: Show, title: Callable[[str], str]) -> None:
        self._repository = repository
        self._interrupts = interrupts
        self._show = show
        self._title = title
        self._waiting: dict[str, Step] = {}
        self._error: RecastError | None = None

    def add(self, step: Step) -> None:
        """The step's result is final."""
        self._waiting[step.name] = step

    @property
    def is_due(self) -> bool:
        """Whether something may be sent now."""
        return bool(self._waiting) and self._error is None

    def send(self) -> list[str]:
        """Send what waits; the names of the steps whose results are in the remote now."""
        steps = list(self._waiting.values())
        try:
            self._push(steps)
        except RecastError as error:
            if self._error is None:
                self._show(Message(f"could not push: {error.message}; it is tried again at the end of the run"))
            self._error = error
            return []
        self._error = None
        self._waiting.clear()
        return [step.name for step in steps]

    def _push(self, steps: list[Step]) -> None:
        for is_last in (False, True):
            try:
                with self._repository.locked(), self._interrupts.at_once():
                    self._repository.push(steps)
                return
            except RecastError:
                # a server has its moments, and two that make one folder at once may get in each other's way
                if is_last or self._error:
                    raise

    def send_rest(self) -> tuple[str, ...]:
        """At the end of the run, send what could not be sent before; the titles of what cannot be sent now either."""
        if self._waiting:
            self.send()
        titles = tuple(self._title(name) for name in self._waiting)
        if titles:
            reason = self._error.message if self._error else ""
            self._show(Message(f"the remote may not have the results of {listed(titles)}, which are here: {reason}"))
        return titles
