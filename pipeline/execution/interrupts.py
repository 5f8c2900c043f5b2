"""Ctrl-C and SIGTERM, looked at where a run can stop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from recast.pipeline.core.errors import Exit


class Interrupts:
    """Ctrl-C and SIGTERM as something the run looks at, so that they never cut a piece of bookkeeping in half.

    The first one stops the children at once; the second ends this process, and with it everything it started.
    """

    def __init__(self) -> None:
        self.asked = False
        self._handlers: dict[int, object] = {}
        self._then: list[Callable[[], None]] = []
        self._at_once = False

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def then(self, call: Callable[[], None]) -> None:
        """What to do at once when the first one comes; short, and from any thread."""
        self._then.append(call)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one came."""
        if self.asked:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that is interrupted in its middle, since it may take long and leaves nothing half-written."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def ask(self) -> None:
        """Stop as if a first Ctrl-C had come."""
        self.asked = True
        for call in self._then:
            call()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            # what this process started ends when it does: workers see their input close, the watchdog kills the rest
            with contextlib.suppress(OSError):
                os.write(2, b"\x1b[?25h\nrecast: killed; what had finished is kept\n")
            os._exit(Exit.INTERRUPTED)
        self.ask()
        if self._at_once:
            raise KeyboardInterrupt
