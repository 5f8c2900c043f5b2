"""What a run says of itself while it goes on: the executor emits these, the displays show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a stage stands; the last five are where it can end."""

    WAITING = "waiting"
    RUNNING = "running"
    UP_TO_DATE = "up to date"
    CACHED = "cached"
    """its result was in the cache or the remote and was checked out"""
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """not tried, because a stage it reads failed or the run was stopped"""


@dataclass(frozen=True)
class Planned:
    """The run begins; every stage in it, in an order that runs."""

    stages: tuple[str, ...]


@dataclass(frozen=True)
class Changed:
    """A stage has come to another state."""

    stage: str
    state: State
    seconds: float | None = None
    """how long it ran, for `done` and `failed`"""
    log: str = ""
    """its log, relative to the repository, for `running`, `done` and `failed`"""
    error: str = ""
    remedy: str = ""
    because: str = ""
    """for `skipped`: the stage that failed; for `running` a second time: why it is tried again"""


@dataclass(frozen=True)
class Progress:
    """A running stage's short live line; `done` of `total` where it counts something."""

    stage: str
    text: str
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Message:
    """Something to know that is no stage's, for example whom the run waits for."""

    text: str


@dataclass(frozen=True)
class Building:
    """What is to be said of an environment that is built, for a stage that waits for it or ahead of those that will."""

    environment: str
    text: str = ""
    ended: bool = False
    """whether it is built no longer, however that came"""


@dataclass(frozen=True)
class Ended:
    """The run is over; nothing follows."""

    seconds: float
    interrupted: bool = False


Event = Planned | Changed | Progress | Message | Building | Ended
Show = Callable[[Event], None]
