"""What a run takes from the DVC remote: at its start what dvc.lock records, later what the run-cache leads to."""

from __future__ import annotations

from collections.abc import Sequence

from recast.pipeline.core.errors import RemoteFailed
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Message, Show


class Pulls:
    """The remote, as long as it answers; the cache in any case.

    A remote that cannot be asked at first stops what wanted it: who begins without it may train for hours what a typing
    error kept from being found. One that is lost later is said, and asked no more: each question may last minutes.
    """

    def __init__(self, repository: Repository, is_wanted: bool, show: Show) -> None:
        """`is_wanted`: whether the remote is to be asked at all."""
        self._repository = repository
        self._is_wanted = is_wanted
        self._show = show

    def fetch(self, steps: Sequence[Step]) -> None:
        """Have what dvc.lock records of these. Raises RemoteFailed if the remote cannot be asked."""
        self._repository.pull(steps)

    def restore(self, step: Step) -> bool:
        """Check the result out if the cache has it, or the remote. Raises RemoteFailed if that has never answered."""
        if not self._is_wanted:
            return self._repository.restore(step)
        try:
            return self._repository.restore(step, pull=True)
        except RemoteFailed as error:
            if not self._repository.remote_has_answered:
                raise
            self._is_wanted = False
            self._show(Message(f"{error.message}; the run goes on without it"))
            return self._repository.restore(step)
