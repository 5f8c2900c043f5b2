"""One line at the bottom of a terminal that says what is being done, with lines above it that stay."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import Self, TextIO


class LiveLine:
    """Where the stream is no terminal only what stays is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._is_live, self._shown = stream, stream.isatty(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wipe()

    def show(self, text: str) -> None:
        """Put the text into the live line."""
        if self._is_live:
            room = shutil.get_terminal_size().columns - 1
            line = "".join(character if character.isprintable() else " " for character in text)[:room]
            self._wipe()
            self._stream.write(line)
            self._stream.flush()
            self._shown = len(line)

    def tell(self, text: str) -> None:
        """Write a line that stays."""
        self._wipe()
        self._stream.write("".join(character if character.isprintable() else " " for character in text) + "\n")
        self._stream.flush()

    def _wipe(self) -> None:
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._shown = 0
