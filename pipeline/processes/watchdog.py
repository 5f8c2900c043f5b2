"""Kills what a run started if the run itself is killed, which no handler of its own can do.

A small process that reads `+GROUP` and `-GROUP` lines, the ids of process groups that began and
ended, and waits for the other end of the pipe to close: by then every group must have ended, so the
ones left are killed. It imports nothing of Recast, so that it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


class Watchdog:
    """Runs the process when it is first needed; safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run the process, so that no moment passes between a group's begin and its being watched."""
        self._tell("")

    def began(self, group: int) -> None:
        """The group must not outlive this process."""
        self._tell(f"+{group}\n")

    def ended(self, group: int) -> None:
        """The group is gone; its id may soon be another's."""
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._process is None:
                command = [sys.executable, "-I", "-S", __file__]
                # a session of its own: a Ctrl-C in the terminal must not reach it
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
            assert self._process.stdin
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def close(self) -> None:
        """End the process; groups that are still known to it are killed."""
        with self._lock:
            if self._process and self._process.stdin:
                self._process.stdin.close()
                self._process.wait()
                self._process = None


def main() -> None:
    """Watch until standard input closes."""
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line[0] == "+" else groups.discard
        change(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
