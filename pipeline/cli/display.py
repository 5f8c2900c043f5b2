"""What people and machines see of a run: a live region on a terminal, plain lines elsewhere, or JSON lines.

Each display is a context manager fed through `show`, from one thread.
"""

from __future__ import annotations

import io
import json
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TextIO, assert_never

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recast.pipeline.cli.run_text import (
    FINAL,
    Line,
    Tally,
    clean_lines,
    closing,
    count_text,
    one_line,
    progress_text,
    stage_count,
    told,
)
from recast.pipeline.execution.events import Building, Changed, Ended, Event, Message, Planned, Progress, State

# seconds between progress lines of one stage where the output is no terminal
_LINE_GAP = 10.0
REFRESHES_PER_SECOND = 8
_BAR_WIDTH = 12
# with less room than this beside name, time and bar, the progress text gets a line of its own
_LEAST_TEXT = 20
_SEPARATOR = " · "
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_PER_SECOND = 12.5


def make_display(stream: TextIO, *, json: bool) -> Display:
    """The display for this stream: JSON lines if asked for, live on a terminal that can, else plain lines."""
    if json:
        return JsonDisplay(stream)
    if isinstance(stream, io.TextIOWrapper):
        # a locale that lacks a character of ours must not end a run
        stream.reconfigure(errors="replace")
    # not rich's own is_terminal: FORCE_COLOR makes that true for a log file
    if stream.isatty() and not (console := Console(file=stream)).is_dumb_terminal:
        return LiveDisplay(console)
    return PlainDisplay(stream)


class Display(ABC):
    """Shows the events of one run between `with` and its end."""

    def __init__(self) -> None:
        self.tally = Tally()

    def show(self, event: Event) -> None:
        self.tally.take(event)
        self._show(event)

    @abstractmethod
    def _show(self, event: Event) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class JsonDisplay(Display):
    """One JSON object a line, one line an event, nothing else.

    Every object has `event` and `time` (ISO 8601, UTC). A field that is not set is left out.

        {"event": "planned", "time": …, "stages": ["digits/data", …]}
        {"event": "changed", "time": …, "stage": …, "state": …, "seconds": …, "log": …, "error": …, "remedy": …,
         "because": …}
        {"event": "progress", "time": …, "stage": …, "text": …, "done": …, "total": …}
        {"event": "message", "time": …, "text": …}
        {"event": "building", "time": …, "environment": …, "text": …, "ended": …}
        {"event": "ended", "time": …, "seconds": …, "interrupted": …, "counts": {"done": …, "cached": …,
         "up to date": …, "failed": …, "skipped": …}}

    `state` is one of `waiting`, `running` and the five of `counts`, which are always all there.
    A run that ends with an error of Recast itself has no `ended`.
    """

    def __init__(self, stream: TextIO, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__()
        self._stream, self._now = stream, now

    def _show(self, event: Event) -> None:
        at = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {key: value for key, value in asdict(event).items() if value not in (None, "")}
        if isinstance(event, Ended):
            said["counts"] = {state: self.tally.counts[state] for state in FINAL}
        self._stream.write(json.dumps({"event": type(event).__name__.lower(), "time": at, **said}) + "\n")
        self._stream.flush()


class _Telling(Display):
    """Tells people in lines what became of each stage, and sums up at the end, however the end comes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._started = clock()

    @abstractmethod
    def _tell(self, lines: Sequence[Line]) -> None: ...

    def __enter__(self) -> Self:
        self._started = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.tally.ended is None:
            how = "interrupted" if kind and issubclass(kind, KeyboardInterrupt) else "stopped"
            self._sum_up(self._clock() - self._started, how)

    def _sum_up(self, seconds: float, how: str) -> None:
        if self.tally.planned:
            self._tell(closing(self.tally, seconds, how))


class PlainDisplay(_Telling):
    """A line with the time for whatever matters, written at once; details indented under it.

    A stage's progress is a line every ten seconds at most, the first ten seconds after its start.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        super().__init__(clock)
        self._stream, self._now = stream, now
        self._last: dict[str, float] = {}

    def _show(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._tell([Line(f"{stage_count(len(event.stages))} planned")])
        elif isinstance(event, Changed):
            if event.state is State.RUNNING:
                self._last[event.stage] = self._clock()
            self._tell(told(event))
        elif isinstance(event, Progress):
            if self._clock() - self._last.get(event.stage, -_LINE_GAP) >= _LINE_GAP:
                self._last[event.stage] = self._clock()
                self._tell([Line(": ".join(part for part in (event.stage, one_line(progress_text(event))) if part))])
        elif isinstance(event, Message | Building):
            self._tell(clean_lines(event.text))
        elif isinstance(event, Ended):
            if quiet := self.tally.counts[State.UP_TO_DATE]:
                self._tell([Line(f"{stage_count(quiet)} up to date")])
            self._sum_up(event.seconds, "interrupted" if event.interrupted else "")
        else:
            assert_never(event)

    def _tell(self, lines: Sequence[Line]) -> None:
        stamp = f"[{self._now():%H:%M:%S}] "
        text = "".join(f"{' ' * line.indent if line.indent else stamp}{line.text}\n" for line in lines)
        if text:
            self._stream.write(text)
            self._stream.flush()


@dataclass(frozen=True)
class _Row:
    """A running stage in the live region."""

    stage: str
    since: float
    progress: Progress


class LiveDisplay(_Telling):
    """Running stages and the counts in a region at the bottom of the terminal; above it scrolls what ended.

    The region is drawn by rich's thread a few times a second, never by an event, except that
    a line that stays redraws it.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._console = console
        # drawn by another thread: a row is never changed but replaced, and copying the values is one step
        self._rows: dict[str, _Row] = {}
        # only what would have come to the terminal anyway may be led above the region
        self._live = Live(
            get_renderable=self.region,
            console=console,
            transient=True,
            refresh_per_second=REFRESHES_PER_SECOND,
            redirect_stdout=_is_terminal("stdout"),
            redirect_stderr=_is_terminal("stderr"),
        )

    def __enter__(self) -> Self:
        super().__enter__()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        super().__exit__(kind, error, trace)

    def _show(self, event: Event) -> None:
        if isinstance(event, Planned):
            pass
        elif isinstance(event, Changed):
            if event.state is State.RUNNING:
                self._rows[event.stage] = _Row(event.stage, self._clock(), Progress(event.stage, ""))
                # the region shows what runs; only that it had to be tried again must stay
                if event.because:
                    self._tell(told(replace(event, log="")))
            else:
                self._rows.pop(event.stage, None)
                self._tell(told(event))
        elif isinstance(event, Progress):
            if row := self._rows.get(event.stage):
                self._rows[event.stage] = replace(row, progress=event)
        elif isinstance(event, Message):
            self._tell(clean_lines(event.text))
        elif isinstance(event, Building):
            self._tell(clean_lines(event.text))
            name = f"environment {event.environment}"
            if event.ended:
                self._rows.pop(name, None)
            elif name not in self._rows:
                self._rows[name] = _Row(name, self._clock(), Progress(name, "being built"))
        elif isinstance(event, Ended):
            self._live.stop()
            self._sum_up(event.seconds, "interrupted" if event.interrupted else "")
        else:
            assert_never(event)

    def _sum_up(self, seconds: float, how: str) -> None:
        if self.tally.planned and self.tally.failed:
            self._console.print()
        super()._sum_up(seconds, how)

    def _tell(self, lines: Sequence[Line]) -> None:
        for line in lines:
            sign, style = line.mark
            if line.is_path:
                # wrapped by the terminal, not by us: copied, it is still one piece
                self._console.print(Text(" " * line.indent + line.text), soft_wrap=True)
            elif sign:
                table = Table.grid(padding=(0, 1, 0, 0))
                table.add_column(no_wrap=True)
                table.add_column(overflow="fold")
                table.add_row(Text(sign, style), Text(line.text))
                self._console.print(table)
            else:
                text = Text(line.text, overflow="fold")
                self._console.print(Padding(text, (0, 0, 0, line.indent), expand=False) if line.indent else text)

    def region(self) -> Group:
        """What is drawn now; never higher than the terminal."""
        width, height, now = self._console.width, self._console.height, self._clock()
        footer = self._footer(width, now) if self.tally.planned else []
        rows = list(self._rows.values())
        times = [_clock_time(now - row.since) for row in rows]
        names = max((cell_len(row.stage) for row in rows), default=0)
        clocks = max((len(at) for at in times), default=0)
        counts = max((len(count_text(row.progress)) for row in rows), default=0)
        counted = _BAR_WIDTH + counts + 3 if counts else 0
        head_width = 2 + names + 2 + clocks
        fits = width - (head_width + 2 + counted) >= _LEAST_TEXT
        lines_each = 1 if fits else 1 + math.ceil(head_width / width)
        room = max(1, (height - len(footer) - 2) // lines_each)
        spin = _FRAMES[int(now * _FRAMES_PER_SECOND) % len(_FRAMES)]
        drawn: list[Text] = []
        for row, at in zip(rows[:room], times, strict=False):
            pad = " " * (names - cell_len(row.stage)) if head_width <= width else ""
            head = Text.assemble((f"{spin} ", "cyan"), (row.stage, "bold"), f"{pad}  {at:>{clocks}}")
            tail = Text.assemble(*(_bar(row.progress, counts) if counts and (fits or count_text(row.progress)) else []))
            tail.append(one_line(row.progress.text))
            if fits:
                drawn.append(_in_one_line(head.append("  ").append(tail)))
                continue
            head.no_wrap, head.overflow = False, "fold"
            drawn.append(head)
            if tail:
                drawn.append(_in_one_line(Text("  ").append(tail)))
        if len(rows) > room:
            drawn.append(_in_one_line(Text(f"  … and {len(rows) - room} more running")))
        return Group(*drawn, *footer)

    def _footer(self, width: int, now: float) -> list[Text]:
        """The counts, broken only between two of them."""
        tally = self.tally
        states = (State.RUNNING, State.WAITING, *FINAL)
        parts = [f"{tally.finished} of {tally.total}", *tally.parts(states), _clock_time(now - self._started)]
        lines = [Text(style="dim")]
        for part in parts:
            if lines[-1] and len(lines[-1]) + len(_SEPARATOR) + len(part) > width:
                lines.append(Text(style="dim"))
            elif lines[-1]:
                lines[-1].append(_SEPARATOR)
            lines[-1].append(part, "not dim bold red" if part.endswith(State.FAILED) else "")
        return [_in_one_line(line) for line in lines]


def _in_one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _bar(progress: Progress, width: int) -> list[tuple[str, str]]:
    """The bar and the count of a stage, its count filled up to `width`; blank if it counts nothing."""
    if not progress.total or progress.done is None:
        return [(" " * (_BAR_WIDTH + width + 3), "")]
    full = round(_BAR_WIDTH * min(max(progress.done / progress.total, 0), 1))
    return [("━" * full, "green"), ("─" * (_BAR_WIDTH - full), "dim"), (f" {count_text(progress):>{width}}  ", "")]


def _clock_time(seconds: float) -> str:
    """For example `0:42` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_terminal(name: str) -> bool:
    stream = getattr(sys, name)
    return stream is not None and stream.isatty()
