"""The process of a verb that a target registers; it imports only what the verb's environment holds.

It is the user's own process: the same terminal, working directory and signals.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import Exit
from recast.pipeline.core.layout import BUG_LOG
from recast.stages.base import EVENT_MARK, StageError
from recast.stages.verb import Artifacts, Interpreter


class Terminal(io.TextIOBase):
    """Standard output, with a stage's progress, which is meant for the runner, shown on standard error instead."""

    def __init__(self, out: Any, progress: Any) -> None:
        self._out, self._progress, self._shown = out, progress, 0

    def write(self, text: str) -> int:
        """Write the text, or show the event it is."""
        if text.startswith(EVENT_MARK):
            self._show(json.loads(text.removeprefix(EVENT_MARK)))
        else:
            self.end_progress()
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush both."""
        self._out.flush()
        self._progress.flush()

    def isatty(self) -> bool:
        """Whether people look at standard output."""
        return bool(self._out.isatty())

    def _show(self, event: dict[str, Any]) -> None:
        if "progress" not in event or not self._progress.isatty():
            return
        count = f" ({event['done']}/{event['total']})" if event.get("total") else ""
        line = f"{event['progress']}{count}"
        self._progress.write(f"\r{line:<{self._shown}}")
        self._shown = len(line)

    def end_progress(self) -> None:
        """Wipe the live line."""
        if self._shown:
            self._progress.write(f"\r{'':<{self._shown}}\r")
            self._shown = 0


def main(job: dict[str, Any]) -> Exit:
    """Run the verb; the exit code."""
    terminal = Terminal(sys.stdout, sys.stderr)
    sys.stdout = terminal
    try:
        verb = importlib.import_module(job["module"]).VERB
        verb.run(job["options"], _artifacts(job["artifacts"]))
        return Exit.DONE
    except StageError as error:
        message = f"{error.message}; {error.remedy}" if error.remedy else error.message
        return _fail(terminal, message, Exit.STAGE_FAILED)
    except KeyboardInterrupt:
        return _fail(terminal, "interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        return Exit.DONE  # the reader went away; nothing is left to say
    except Exception as error:
        log = Path(job["root"]) / BUG_LOG
        with suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(traceback.format_exc(), encoding="utf-8")
        more = f"please report it, with what you ran and {log}"
        return _fail(terminal, f"a bug of Recast: {type(error).__name__}: {error}\n{more}", Exit.BUG)


def _fail(terminal: Terminal, message: str, code: Exit) -> Exit:
    terminal.end_progress()
    print(f"recast: {message}", file=sys.stderr)
    return code


def _artifacts(said: dict[str, Any] | None) -> Artifacts | None:
    if said is None:
        return None
    predictor = said["predictor"]
    return Artifacts(
        recipe=said["recipe"],
        target=said["target"],
        directories={name: Path(path) for name, path in said["directories"].items()},
        params=said["params"],
        local=Path(said["local"]),
        predictor=Interpreter(Path(predictor["python"]), predictor["module"]) if predictor else None,
        beside=tuple(one for other in said.get("beside", ()) if (one := _artifacts(other))),
    )


if __name__ == "__main__":
    code = main(json.loads(sys.argv[1]))
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    # vendors' exit hooks have been seen to hang or crash after the work is done
    os._exit(code)
