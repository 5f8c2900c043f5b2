"""The processes that hold the model, and who waits for them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stages.base import StageError
from stages.serving import messages
from stages.serving.model import Answer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

START_S = 120.0
"""a process that has not loaded its model by then will not"""
LONGEST_LINE = 2**24
"""bytes; what a model says of itself holds the names of its classes, which may be many"""


class Busy(Exception):
    """Too many requests wait already."""


class TooLong(Exception):
    """The request was not answered within its time."""


class Lost(Exception):
    """The process that was to answer ended, or gave no answer that can be used."""


class Answering:
    """One process with the model in it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout
        self._process, self._to, self._from = process, process.stdin, process.stdout

    @classmethod
    async def start(cls, command: Sequence[str]) -> tuple[Answering, dict[str, Any]]:
        """The process, once it is ready, and what it says of its model. Raises StageError if it cannot load it."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the service, which ends the processes itself
        )
        answering = cls(process)
        try:
            said = await asyncio.wait_for(answering._message(), START_S)
            if "ready" not in said:
                raise StageError(said.get("refused") or said.get("failed", "no reason"), said.get("remedy", ""))
        except (TimeoutError, Lost) as error:
            await answering.stop()
            raise StageError("the process of the model did not start", "what it printed above may say why") from error
        except BaseException:
            await answering.stop()
            raise
        ready: dict[str, Any] = said["ready"]
        return answering, ready

    async def ask(self, samples: NDArray[np.float32], values: str) -> Answer:
        """The model's answer. Raises StageError for samples the model refuses, Lost for a process that is no use."""
        try:
            self._to.write(messages.encode({"values": values}, samples))
            await self._to.drain()
            said = await self._message()
            if "refused" in said:
                raise StageError(said["refused"], said["remedy"])
            if "failed" in said:
                raise Lost(said["failed"])
            data = await self._from.readexactly(messages.size(said))
            return Answer(messages.decode(said, data) if "shape" in said else None, said["more"])
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Lost("the process of the model ended") from error

    async def _message(self) -> dict[str, Any]:
        line = await self._from.readline()
        if not line.endswith(b"\n"):
            raise Lost("the process of the model ended")
        said: dict[str, Any] = json.loads(line)
        return said

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    async def stop(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Pool:
    """A number of processes that answer, and a bounded queue before them.

    A process that takes too long, or that fails, is ended and another one started in its place.
    """

    def __init__(self, command: Sequence[str], workers: int, queue: int, timeout: float) -> None:
        self._command, self._workers, self._timeout = command, workers, timeout
        self._most = workers + queue
        self._asked = 0
        self._idle: asyncio.Queue[Answering] = asyncio.Queue()
        self._all: set[Answering] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self.model: dict[str, Any] = {}
        """what the model says of itself: dataset, shape, classes, and how samples are normalised"""

    async def start(self) -> None:
        """Start every process. Raises StageError if the model cannot be loaded."""
        try:
            await asyncio.gather(*(self._add() for _ in range(self._workers)))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End every process."""
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*(answering.stop() for answering in self._all))

    @property
    def is_ready(self) -> bool:
        """Whether a process is there to answer, now or when it has done what it is at."""
        return any(answering.is_alive for answering in self._all)

    async def answer(self, samples: NDArray[np.float32], values: str) -> Answer:
        """The model's answer for samples (n, *shape).

        Raises StageError for samples the model refuses, Busy, TooLong and Lost.
        """
        if self._asked >= self._most:
            raise Busy
        self._asked += 1
        try:
            async with asyncio.timeout(self._timeout):
                return await self._ask(await self._next(), samples, values)
        except TimeoutError:
            raise TooLong from None
        finally:
            self._asked -= 1

    async def _next(self) -> Answering:
        """The next process that is free; one that ended while nobody asked is replaced."""
        while True:
            if not self._all and not self._starting:
                raise Lost("no process of the model is left, and none could be started; see what was printed")
            answering = await self._idle.get()
            if answering.is_alive:
                return answering
            self._replace(answering)

    async def _ask(self, answering: Answering, samples: NDArray[np.float32], values: str) -> Answer:
        try:
            answer = await answering.ask(samples, values)
        except StageError:
            self._idle.put_nowait(answering)
            raise
        except BaseException:  # cancelled when its time is over, too: its answer would be taken for the next one's
            self._replace(answering)
            raise
        self._idle.put_nowait(answering)
        return answer

    def _replace(self, answering: Answering) -> None:
        async def replace() -> None:
            await answering.stop()
            self._all.discard(answering)
            try:
                await self._add()
            except StageError as error:
                print(f"recast: {error.message}", file=sys.stderr)

        task = asyncio.create_task(replace())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _add(self) -> None:
        answering, self.model = await Answering.start(self._command)
        self._all.add(answering)
        self._idle.put_nowait(answering)
