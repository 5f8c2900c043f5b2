"""The processes that hold the model, and who waits for them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from recast.stages.base import StageError
from recast.stages.serving import messages
from recast.stages.serving.messages import Arrays
from recast.stages.serving.model import Answer

START_S = 120.0
"""a process that has not loaded its model by then will not"""
LAST_WORDS_S = 1.0
"""how long a process that closed its output may take to end by itself"""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""before another process is started for one that ended without having answered; doubled from one to the next"""
LONGEST_LINE = 2**24
"""bytes; what a model says of itself holds the names of its classes, which may be many"""


class Busy(Exception):
    """Too many requests wait already."""


class TooLong(Exception):
    """The request was not answered within its time."""


class Lost(Exception):
    """The process that was to answer ended, or gave no answer that can be used."""


class Absent(Exception):
    """No process is there to answer, through no fault of the request; another one will be."""

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Answering:
    """One process with the model in it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout
        self._process, self._to, self._from = process, process.stdin, process.stdout
        self.has_answered = False
        """whether it ever has, if only to refuse"""
        self.ended_here = False
        """whether it was ended by `kill` or `stop`, so neither by itself nor by others"""

    @classmethod
    async def start(cls, command: Sequence[str]) -> tuple[Answering, dict[str, Any]]:
        """The process, once it is ready, and what it says of its model. Raises StageError if it cannot load it."""
        remedy = "what it printed above may say why"
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for the service, which ends the processes itself
            )
        except OSError as error:
            raise StageError(f"the process of the model cannot be started: {error}", remedy) from error
        answering = cls(process)
        try:
            said = await asyncio.wait_for(answering._message(), START_S)
            if "ready" not in said:
                raise StageError(said.get("refused") or said.get("failed", "no reason"), said.get("remedy", ""))
        except TimeoutError as error:
            await answering.stop()
            raise StageError(f"the process of the model did not load it within {START_S:g} s", remedy) from error
        except (Lost, Absent) as error:
            await answering.stop()
            raise StageError(f"{error} before it had loaded it", remedy) from error
        except BaseException:
            await answering.stop()
            raise
        ready: dict[str, Any] = said["ready"]
        return answering, ready

    async def ask(self, samples: Arrays, values: str) -> Answer:
        """The model's answer.

        Raises StageError for samples the model refuses, Absent if someone ended the process meanwhile, and Lost if it
        is no use.
        """
        try:
            self._to.write(messages.encode({"values": values}, samples))
            await self._to.drain()
            said = await self._message()
            if "refused" in said:
                self.has_answered = True
                raise StageError(said["refused"], said["remedy"])
            if "failed" in said:
                raise Lost(said["failed"])
            data = await self._from.readexactly(messages.size(said))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise await self._loss() from error
        self.has_answered = True
        return Answer(messages.decode(said, data) if messages.holds(said) else None, said["more"])

    async def _message(self) -> dict[str, Any]:
        try:
            line = await self._from.readline()
            if not line.endswith(b"\n"):
                raise await self._loss()
            said: dict[str, Any] = json.loads(line)
        except ValueError as error:  # a line without end, or one that is no JSON
            raise Lost("the process of the model said something that is no message") from error
        return said

    async def _loss(self) -> Lost | Absent:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), LAST_WORDS_S)
        code = self._process.returncode
        # an administrator's doing, or the system's for want of memory; what a model does to itself has other signals
        if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
            return Absent(f"the process of the model {self.end}")
        return Lost(f"the process of the model {self.end}")

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    @property
    def end(self) -> str:
        """How it ended."""
        code = self._process.returncode
        if self.ended_here:
            return "failed or took too long, and was ended"
        if code is None:
            return "closed its output"
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def ended(self) -> None:
        """Wait until it has."""
        await self._process.wait()

    def kill(self) -> None:
        """End it at once, without waiting for that."""
        if self.is_alive:
            self.ended_here = True
            with suppress(ProcessLookupError):
                self._process.kill()

    async def stop(self) -> None:
        """End it at once."""
        self.kill()
        await self.ended()


class Pool:
    """A number of processes that answer, and a bounded queue before them.

    A process that takes too long, or that fails, is ended. Wherever one has ended, another is started in its place, for
    ever: at once if it had answered or was ended from here, else after a pause that doubles up to a bound.
    """

    def __init__(self, command: Sequence[str], workers: int, queue: int, timeout: float) -> None:
        self._command, self._workers, self._timeout = command, workers, timeout
        self._most = workers + queue
        self._asked = 0
        self._idle: asyncio.Queue[Answering] = asyncio.Queue()
        self._all: set[Answering] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._reason = ""
        """why the last process that ended has, or the last that was to start could not"""
        self._cannot_start = False
        """whether the last that was to start could not"""
        self._next_start = 0.0
        """when another is started, on the clock of `time.monotonic`"""
        self.model: dict[str, Any] = {}
        """what the model says of itself: dataset, shape, classes, and how samples are normalised"""

    async def start(self) -> None:
        """Start every process. Raises StageError if the model cannot be loaded."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._add()) for _ in range(self._workers)]
        except BaseException as error:
            await self.close()
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error from None
        self._keepers = [asyncio.create_task(self._keep(task.result())) for task in tasks]

    async def close(self) -> None:
        """End every process."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(answering.stop() for answering in self._all))

    @property
    def is_ready(self) -> bool:
        """Whether a process is there to answer, now or when it has done what it is at."""
        return any(answering.is_alive for answering in self._all)

    @property
    def asked(self) -> int:
        """Requests that wait or are at work."""
        return self._asked

    def absence(self) -> Absent:
        """Why no process is there, and when to ask again."""
        # the model has to be loaded, too
        return Absent(
            self._reason or "the process of the model has ended", max(0.0, self._next_start - time.monotonic()) + 1.0
        )

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A request's place in the queue, and its time: within it what is asked is read, answered and written.

        Raises Busy; TooLong, or Absent if no process has been there, when its time is over.
        """
        if self._asked >= self._most:
            raise Busy
        self._asked += 1
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError:
            raise (TooLong() if self.is_ready else self.absence()) from None
        finally:
            self._asked -= 1

    async def answer(self, samples: Arrays, values: str) -> Answer:
        """The model's answer for samples (n, *shape) of each input, asked within a `place`.

        Raises StageError for samples the model refuses, Absent and Lost.
        """
        return await self._ask(await self._next(), samples, values)

    async def _next(self) -> Answering:
        """The next process that is free; one that is being started is waited for."""
        while True:
            if self._cannot_start and not self.is_ready:
                raise self.absence()
            answering = await self._idle.get()
            if answering.is_alive:
                return answering

    async def _ask(self, answering: Answering, samples: Arrays, values: str) -> Answer:
        try:
            answer = await answering.ask(samples, values)
        except StageError:
            self._idle.put_nowait(answering)
            raise
        except BaseException:  # cancelled when its time is over, too: its answer would be taken for the next one's
            answering.kill()
            raise
        self._idle.put_nowait(answering)
        return answer

    async def _keep(self, answering: Answering) -> None:
        """Hold the place of one process, whatever becomes of those that take it."""
        pause = 0.0
        while True:
            await answering.ended()
            self._all.discard(answering)
            pause = 0.0 if answering.has_answered or answering.ended_here else _longer(pause)
            self._reason = f"the process of the model {answering.end}"
            if not answering.ended_here:
                self._say(pause)
            answering, pause = await self._another(pause)

    async def _another(self, pause: float) -> tuple[Answering, float]:
        """A process, once one could be started, and the pause before it."""
        while True:
            self._next_start = time.monotonic() + pause
            await asyncio.sleep(pause)
            try:
                return await self._add(), pause
            # whatever it is that keeps one from starting now, the next may start
            except Exception as error:
                self._cannot_start = True
                self._reason = str(error) or type(error).__name__
                pause = _longer(pause)
                self._say(pause)

    def _say(self, pause: float) -> None:
        print(f"recast: {self._reason}; another is started in {pause:g} s", file=sys.stderr, flush=True)

    async def _add(self) -> Answering:
        answering, self.model = await Answering.start(self._command)
        self._cannot_start = False
        self._all.add(answering)
        self._idle.put_nowait(answering)
        return answering


def _longer(pause: float) -> float:
    return min(max(2 * pause, FIRST_PAUSE_S), LONGEST_PAUSE_S)
