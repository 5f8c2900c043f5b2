"""What is said of a run, in words: the lines that every display for people shows, and the counts they rest on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from recast.pipeline.core.listed import listed
from recast.pipeline.execution.events import Changed, Ended, Event, Planned, Progress, State

FINAL = (State.DONE, State.CACHED, State.UP_TO_DATE, State.FAILED, State.SKIPPED)

_NAMES_SHOWN = 3
_MARKS = {
    State.RUNNING: ("↻", "yellow"),
    State.DONE: ("✓", "green"),
    State.CACHED: ("✓", "cyan"),
    State.FAILED: ("✗", "bold red"),
    State.SKIPPED: ("–", "yellow"),
}
# terminal commands (colours, titles, cursor moves), then other control characters but newline and tab
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.?", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Tally:
    """How many stages stand where, and which failed; every event costs the same, however many stages there are."""

    def __init__(self) -> None:
        self.counts: Counter[State] = Counter()
        self.planned = False
        """whether this is a run; without it, it is a stage run alone, which needs no sums"""
        self.ended: Ended | None = None
        self.skipped: dict[str, list[str]] = {}
        """by the stage that failed, those it kept from running; by "" those that the end of the run did"""
        self._states: dict[str, State] = {}
        self._failed: dict[str, Changed] = {}

    def take(self, event: Event) -> None:
        if isinstance(event, Planned):
            self.planned = True
            for stage in event.stages:
                self._put(stage, State.WAITING)
        elif isinstance(event, Changed):
            self._put(event.stage, event.state)
            self._failed.pop(event.stage, None)
            if event.state is State.FAILED:
                self._failed[event.stage] = event
            elif event.state is State.SKIPPED:
                self.skipped.setdefault(event.because, []).append(event.stage)
        elif isinstance(event, Ended):
            self.ended = event

    def _put(self, stage: str, state: State) -> None:
        if before := self._states.get(stage):
            self.counts[before] -= 1
        self._states[stage] = state
        self.counts[state] += 1

    @property
    def failed(self) -> list[Changed]:
        """Stages that failed and have not been tried again since, in the order they failed."""
        return list(self._failed.values())

    @property
    def total(self) -> int:
        return len(self._states)

    @property
    def finished(self) -> int:
        return sum(self.counts[state] for state in FINAL)

    def parts(self, states: Sequence[State]) -> list[str]:
        """For example `2 running`, of each state in which there is a stage."""
        return [f"{self.counts[state]} {state}" for state in states if self.counts[state]]


class Line(NamedTuple):
    """A line that stays."""

    text: str
    indent: int = 0
    is_path: bool = False
    """it must stay in one piece, to be copied"""
    mark: tuple[str, str] = ("", "")
    """a sign in front of it, on a terminal, and the sign's style"""


def count_text(progress: Progress) -> str:
    return f"{progress.done}/{progress.total}" if progress.total and progress.done is not None else ""


def progress_text(progress: Progress) -> str:
    count = count_text(progress)
    return f"{progress.text} ({count})" if progress.text and count else progress.text or count


def told(event: Changed) -> list[Line]:
    """What is said of a stage's new state; nothing where the sums at the end say it."""
    stage, took = event.stage, "" if event.seconds is None else _took(event.seconds)
    mark = _MARKS.get(event.state, ("", ""))
    if event.state is State.RUNNING:
        again = f" again, because {one_line(event.because)}" if event.because else ""
        return [Line(f"{stage}: running{again}" + (f" (log {event.log})" if event.log else ""), mark=mark)]
    if event.state is State.DONE:
        return [Line(f"{stage}: done" + (f" in {took}" if took else ""), mark=mark)]
    if event.state is State.CACHED:
        return [Line(f"{stage}: cached", mark=mark)]
    if event.state is State.FAILED:
        return _failure(event, f"{stage}: failed" + (f" after {took}" if took else ""), mark=mark)
    if event.state is State.SKIPPED and event.because:
        return [Line(f"{stage}: skipped, because {event.because} failed", mark=mark)]
    return []


def _failure(event: Changed, head: str, *, mark: tuple[str, str] = ("", ""), indent: int = 0) -> list[Line]:
    """The error after `head`; its further lines, the remedy and the log indented under it."""
    error = clean_lines(event.error, indent + 4)
    first = f"{head}: {error[0].text}" if error else head
    log = [Line(f"log: {event.log}", indent + 4, is_path=True)] if event.log else []
    return [Line(first, indent, mark=mark), *error[1:], *clean_lines(event.remedy, indent + 4), *log]


def closing(tally: Tally, seconds: float, how: str) -> list[Line]:
    """The end of a run: each failed stage and what it held up, then the sums; `how` it ended, if early."""
    said: list[Line] = []
    for event in tally.failed:
        said += _failure(event, event.stage, indent=2)
        if held := tally.skipped.get(event.stage):
            said.append(Line(f"{stage_count(len(held))} skipped because of it: {listed(held, _NAMES_SHOWN)}", 6))
    if said:
        said.insert(0, Line(f"{stage_count(len(tally.failed))} failed:", mark=_MARKS[State.FAILED]))
    parts = ", ".join(tally.parts(FINAL))
    done = "" if tally.finished == tally.total else f"{tally.finished} of "
    done += stage_count(tally.total)
    head = f"{how} after {_took(seconds)}, {done}" if how else f"{done} in {_took(seconds)}"
    return [*said, Line(f"{head}: {parts}" if parts else head)]


def clean_lines(text: str, indent: int = 0) -> list[Line]:
    """Text of others, line by line, without what would command the terminal; all but the first indented."""
    plain = _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))).expandtabs(4)
    kept = [line.rstrip() for line in plain.split("\n") if line.strip()]
    return [Line(line, indent if number == 0 else indent or 4) for number, line in enumerate(kept)]


def one_line(text: str) -> str:
    return " ".join(line.text.strip() for line in clean_lines(text))


def stage_count(count: int) -> str:
    return f"{count} stage{'' if count == 1 else 's'}"


def _took(seconds: float) -> str:
    """For example `38.2 s`, `2 min 5 s`, `1 h 2 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
