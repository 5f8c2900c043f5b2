"""The process that reads large bodies and writes large answers.

Python's JSON holds the interpreter while it parses, in a thread as well: the service would answer nobody meanwhile.
It takes one after the other, until its standard input ends, as it does when the service is gone.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from recast.stages.base import StageError
from recast.stages.serving import bodies, images, messages
from recast.stages.serving.messages import Arrays

LONGEST_LINE = 2**20
SMALL_BODY = 2**18
"""bytes that are parsed where the service runs: a few milliseconds"""
SMALL_ANSWER = 2**14
"""numbers that are written there"""


class Failed(Exception):
    """The process ended, for want of memory perhaps."""


class Bodies:
    """`bodies.read` and `bodies.answer`, beside the service where they would hold it up."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def read(self, kind: str, body: bytes, shape: Sequence[int] = ()) -> tuple[Arrays, str]:
        """As `bodies.read`; raises Failed besides. A small image may be a large picture, and its reader may crash."""
        if len(body) <= SMALL_BODY and kind not in images.KINDS:
            return bodies.read(kind, body)
        said, data = await self._ask(messages.encode({"kind": kind, "bytes": len(body), "sample": list(shape)}) + body)
        return messages.decode(said, data), said["values"]

    async def answer(self, scores: Arrays | None, more: dict[str, Any]) -> bytes:
        """As `bodies.answer`; raises Failed besides."""
        if scores is None or _numbers(scores) <= SMALL_ANSWER:
            return bodies.answer(scores, more)
        return (await self._ask(messages.encode({"more": more}, scores)))[1]

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()

    async def _ask(self, request: bytes) -> tuple[dict[str, Any], bytes]:
        async with self._turn:
            try:
                process = await self._started()
                assert process.stdin and process.stdout
                process.stdin.write(request)
                await process.stdin.drain()
                said: dict[str, Any] = json.loads(await process.stdout.readline())
                answered = await process.stdout.readexactly(said.get("bytes", messages.size(said)))
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                self.close()
                raise Failed from error
            except BaseException:  # cancelled when its time is over: its answer would be taken for the next one's
                self.close()
                raise
        if "refused" in said:
            raise StageError(said["refused"], said["remedy"])
        if "unsayable" in said:
            raise ValueError(said["unsayable"])
        return said, answered

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "recast.stages.serving.body_process"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for the service, which ends it itself
            )
        return self._process


def _numbers(scores: Arrays) -> int:
    return sum(one.size for one in scores.values()) if isinstance(scores, Mapping) else scores.size


def main() -> None:
    """Answer until nobody asks any more."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while line := asked.readline():
        message = json.loads(line)
        data = asked.read(message.get("bytes", messages.size(message)))
        try:
            answers.write(_answer(message, data))
        except StageError as error:
            answers.write(messages.encode({"refused": error.message, "remedy": error.remedy}))
        except ValueError as error:
            answers.write(messages.encode({"unsayable": str(error)}))
        answers.flush()


def _answer(message: dict[str, Any], data: bytes) -> bytes:
    if "kind" in message:
        samples, values = bodies.read(message["kind"], data, message["sample"])
        return messages.encode({"values": values}, samples)
    text = bodies.answer(messages.decode(message, data), message["more"])
    return messages.encode({"bytes": len(text)}) + text


if __name__ == "__main__":
    main()
