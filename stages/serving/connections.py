"""Connections that end: uvicorn's, with a time for each part of a request and a bound on how many there are.

uvicorn ends a connection that is idle after an answer, and no other: one on which nothing, or a byte a minute, ever
arrives is held for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from recast.stages.serving import bodies


@dataclass
class Bounds:
    """What connections may take, all of one service together."""

    head_s: float
    """from the start, or the answer before, until the head of a request is there"""
    answer_s: float
    """until an answer is taken"""
    most: int
    """connections at a time"""
    waiting: dict[Connection, asyncio.TimerHandle] = field(default_factory=dict)
    """those that wait for the head of a request, the longest first"""

    def protocol(self, *arguments: Any, **named: Any) -> Connection:
        """What uvicorn makes one connection of."""
        return Connection(self, *arguments, **named)


class Connection(H11Protocol):  # type: ignore[misc] # mypy runs where uvicorn is not
    """One connection, of HTTP/1.1."""

    def __init__(self, bounds: Bounds, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._bounds = bounds
        self._untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Count it, and make room for it if there are many."""
        super().connection_made(transport)
        self._look()
        if sum(not other.transport.is_closing() for other in self.connections) > self._bounds.most:
            # one on which nothing was asked loses nothing but time
            oldest = next(iter(self._bounds.waiting))
            if oldest is self:
                self._say(503, "too many connections are open", "send it again later")
            oldest.end()

    def end(self) -> None:
        """Close it, once what was written is sent."""
        self._stop_waiting()
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came; a head that is complete is waited for no longer."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """See that the answer is taken, and wait for the next request."""
        if self.transport.get_write_buffer_size():
            self._watch_writing()
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Bound the time in which what is written is to be taken."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """It was taken."""
        super().resume_writing()
        self._taken()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._say(400, msg, "send HTTP/1.1 with a head of at most 16 KiB")
        self.end()

    def _look(self) -> None:
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self not in self._bounds.waiting:
            self._bounds.waiting[self] = self.loop.call_later(self._bounds.head_s, self._too_slow)

    def _too_slow(self) -> None:
        if self.conn.trailing_data[0]:
            self._say(408, f"the head of the request took longer than {self._bounds.head_s:g} s", "send it at once")
        self.end()

    def _watch_writing(self) -> None:
        self._taken()
        self._untaken = self.loop.call_later(self._bounds.answer_s, self._not_taken)

    def _not_taken(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _say(self, status: int, error: str, remedy: str) -> None:
        """An answer from outside of any request, after which the connection ends."""
        body = bodies.as_json({"error": error, "remedy": remedy})
        head = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        for event in (h11.Response(status_code=status, headers=head), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))

    def _stop_waiting(self) -> None:
        if timer := self._bounds.waiting.pop(self, None):
            timer.cancel()

    def _taken(self) -> None:
        if self._untaken:
            self._untaken.cancel()
            self._untaken = None
