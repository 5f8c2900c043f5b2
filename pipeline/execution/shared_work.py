"""What runs that share a remote leave to each other: a stage that another one runs is waited for, and pulled."""

from __future__ import annotations

from collections.abc import Callable

from recast.pipeline.core.errors import RecastError, told
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Message, Show
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.sharing.claims import Claims, Store


class SharedWork:
    """The claims of a run, by step. Called by the thread with DVC's books."""

    def __init__(
        self,
        repository: Repository,
        interrupts: Interrupts,
        tell: Show,
        wake: Callable[[], None],
        lease: float,
    ) -> None:
        """`tell` may be called from another thread; `wake` has the run look at what `freed` says."""
        self._repository = repository
        self._interrupts = interrupts
        self._tell = tell
        fs, path = repository.remote_place()
        self._claims = Claims(Store(fs, path), wake, lambda text: tell(Message(text)), lease=lease)
        self._keys: dict[str, str] = {}
        self.elsewhere: dict[str, str] = {}
        """steps that others run -> who does"""

    def claim(self, step: Step, title: str) -> bool:
        """Claim the step, for what it has just been noted to read; False if another run has it.

        One that cannot be claimed is run without: claims save work, and nothing rests on them.
        """
        key = self._repository.run_key(step)
        if not key:
            return True
        try:
            with self._interrupts.at_once():
                holder = self._claims.take(key, title)
        except (KeyboardInterrupt, RecastError):
            raise
        except Exception as error:  # every file system has errors of its own
            self._tell(Message(f"{title} could not be claimed, so another may run it as well: {told(error)}"))
            return True
        self._keys[step.name] = key
        if not holder:
            self.elsewhere.pop(step.name, None)
            return True
        if self.elsewhere.get(step.name) != holder:
            self._tell(Message(f"{title} is run by {holder}: its result is waited for"))
        self.elsewhere[step.name] = holder
        return False

    def freed(self) -> list[str]:
        """Steps that others ran, and run no more: their results may be in the remote."""
        keys = self._claims.freed() if self.elsewhere else set()
        return [name for name in self.elsewhere if self._keys[name] in keys]

    def give_back(self, name: str) -> None:
        """The step's result is in the remote, or it has none."""
        self.elsewhere.pop(name, None)
        if key := self._keys.pop(name, None):
            self._claims.give_back(key)

    def close(self) -> None:
        """Give back every claim."""
        self._claims.close()
