"""The process that holds one model and answers for it, in the environment of the model's target.

    python -m recast.stages.serving.model_process MODULE EMITTED MEANS

MEANS is JSON with the keys of `recast.stages.serving.model.Means`.

It says that it is ready, then answers one request after the other, until its standard input ends.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from recast.stages.base import EVENT_MARK, StageError
from recast.stages.serving import messages
from recast.stages.serving.model import Means, ServedModel


class Noise(io.TextIOBase):
    """Standard output of a model: what it prints goes to standard error, its progress nowhere."""

    def write(self, text: str) -> int:
        """Pass the text on, unless it is an event."""
        return len(text) if text.startswith(EVENT_MARK) else sys.stderr.write(text)

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


def main(module: str, emitted: str, said: str) -> int:
    """Answer until nobody asks any more; the exit code."""
    # what tools print must not get between the answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = Noise()
    try:
        model = _load(module, Path(emitted), json.loads(said))
    except Exception as error:
        _send(answers, _fault(error))
        return 1
    _send(answers, {"ready": model.described()})
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        data = sys.stdin.buffer.read(messages.size(request))
        try:
            answer = model.answer(messages.decode(request, data), request["values"])
        except Exception as error:
            _send(answers, _fault(error))
        else:
            answers.write(messages.encode({"more": answer.more}, answer.scores))
            answers.flush()
    return 0


def _load(module: str, emitted: Path, said: dict[str, Any]) -> ServedModel:
    means = Means(said["threads"], said["memory_gib"], Path(said["local"]))
    model: ServedModel = importlib.import_module(module).load(emitted, means)
    if means.memory_gib is not None and not model.keeps_to_memory:
        raise StageError("this target cannot keep to a bound of memory", "leave out --memory")
    return model


def _send(answers: BinaryIO, message: dict[str, Any]) -> None:
    answers.write(messages.encode(message))
    answers.flush()


def _fault(error: Exception) -> dict[str, Any]:
    """What the asker is told: a mistake of theirs with its remedy; of ours only that it is one."""
    if isinstance(error, StageError):
        return {"refused": error.message, "remedy": error.remedy}
    traceback.print_exception(error)
    return {"failed": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stderr.flush()
    # vendors' exit hooks have been seen to hang or crash after the work is done
    os._exit(code)
