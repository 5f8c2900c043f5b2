"""Calls of other people's tools: whatever they raise reaches a user as a StageError, in plain words and with a remedy.

Their exceptions share no base but Exception, and their messages speak of C++ functions and of files of the environment.
"""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recast.stages.base import StageError, emit_event

LONGEST = 300
"""characters of a tool's own words that a message quotes; the log has all of them"""

_INSIDE = (AttributeError, IndexError, KeyError, NameError, TypeError)
"""raised by a program about itself, not about what it was given"""
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f\x7f]")
# how onnxruntime says that a kernel refuses: the node, which is named anyway, and the condition as its source has it
_CONDITION = re.compile(r"^Non-zero status code returned while running .*? Status Message: (?:.* was false\. )?")
_STATUS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_CPP_PLACE = re.compile(
    r"/?[\w./+-]+\.(?:cc|cpp|cxx|h|hpp|cuh?):\d+:? (?:[^()]*?::[^()]*\([^()]*\)(?: const)?(?: \[[^\]]*\])? )?"
)
_PLACE = re.compile(r"(?:/[\w.+-]+)*/(?:site-packages|dist-packages|\.cargo|rustc)/\S*")
_TAG = re.compile(r"\[\w*(?:Error|Exception)\] ?|Inference error\(s\): ?")
_TYPE = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?(?:[A-Z]\w*(?:Error|Exception|Warning|Exit)|Fail|InvalidArgument|NoSuchFile): ?"
)


_KILLED = (128 + signal.SIGKILL, 256 - signal.SIGKILL)
"""what a shell, and Python, end with whose own child was ended by SIGKILL"""


def refuse_if_killed(program: str, code: int, smaller: str) -> None:
    """StageError if a program that ended with that code was ended by a signal: what it was given may be in order.

    `smaller`: what needs less memory, for the remedy, since that is what Linux sends SIGKILL for.
    """
    if code in _KILLED or code == -signal.SIGKILL:
        raise StageError(
            f"{program} was ended by SIGKILL, most likely because the machine ran out of memory",
            f"{smaller}, or use a machine with more memory",
        )
    if code < 0:
        raise StageError(f"{program} crashed ({signal.Signals(-code).name})", "see the log")


@contextmanager
def foreign(failure: str, remedy: str) -> Iterator[None]:
    """Around calls of a tool, and of nothing else; `failure` says which tool cannot do what, as 'zig cannot link it'.

    Whatever they raise becomes StageError("FAILURE: CAUSE", remedy), and its traceback goes to the log. A StageError
    and a MemoryError pass as they are, and so does what our own code raised that the tool called back: that is no
    fault of the tool's.
    """
    try:
        yield
    except (StageError, MemoryError):
        raise
    except Exception as error:
        if _called_back(error):
            raise
        emit_event({"traceback": traceback.format_exc()})
        raise StageError(f"{failure}: {first_line(error)}", remedy) from error


def first_line(error: BaseException | str) -> str:
    """What a tool says, for a message of ours: the first line with words in it.

    Without colours, names of exception types, places in C++ or Python sources and paths of the environment.
    """
    said = _COLOURS.sub("", str(error))
    lines = (_plain(line) for line in said.splitlines())
    line = next((line for line in lines if any(letter.isalnum() for letter in line)), "")
    if isinstance(error, _INSIDE):
        return f"an error inside it ({line})" if line else "an error inside it"
    return line or "it does not say why"


def _plain(line: str) -> str:
    line = _CONDITION.sub("", _STATUS.sub("", " ".join(line.split())))
    line = " ".join(_TAG.sub("", _PLACE.sub("", _CPP_PLACE.sub("", line))).split())
    while (shorter := _TYPE.sub("", line)) != line:
        line = shorter
    line = line.strip(" :")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _called_back(error: Exception) -> bool:
    """Whether it was raised in our sources, though not by the very function that holds the `with`."""
    frames = traceback.extract_tb(error.__traceback__)
    # the first is this module's own, the second that of the `with`
    return len(frames) > 2 and Path(frames[-1].filename).is_relative_to(Path(__file__).parents[1])
