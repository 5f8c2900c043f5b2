"""One root error and the table of exit codes; only `cli` prints, and only `cli.main` exits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every verb."""

    DONE = 0
    STAGE_FAILED = 1
    UNSOUND = 1  # what `recast doctor` finds
    BAD_INPUT = 2
    BUG = 3
    INTERRUPTED = 130


class RecastError(Exception):
    """Root of every error that a user can mend: what is wrong, and the remedy."""

    exit_code = Exit.BAD_INPUT

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class Logged(RecastError):
    """Something ran and failed. `log` is its log, relative to the repository; `tail` the last lines it wrote."""

    def __init__(self, message: str, remedy: str = "", log: str = "", tail: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy)
        self.log = log
        self.tail = tail

    def __str__(self) -> str:
        log = f"\n  log: {self.log}" if self.log else ""
        return super().__str__() + log + "".join(f"\n  | {line}" for line in self.tail)


class StageFailed(Logged):
    """A stage ran and failed."""

    exit_code = Exit.STAGE_FAILED


class EnvironmentNotBuilt(Logged):
    """An environment could not be installed."""


class RemoteFailed(RecastError):
    """The DVC remote cannot be asked now, or breaks off: nobody's mistake, and perhaps over in a moment."""


class Interrupted(RecastError):
    """A stage was stopped because its run was; nobody's failure."""

    exit_code = Exit.INTERRUPTED


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a file: where (line and column count from 1), what, and the remedy."""

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{where}; {self.remedy}" if self.remedy else where


class RecipeError(RecastError):
    """Everything wrong in the recipes that were read, reported together."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def told(error: BaseException) -> str:
    """What an error of another package says, and then its causes; one that says nothing by what it is."""
    said: list[str] = []
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        # ours quote what they come from
        if (text := str(found)) and not any(text in before for before in said):
            said.append(text)
        found = found.__cause__
    return ": ".join(said) or _of_what(error)


def _of_what(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return f"no answer came ({name})"
    return f"the connection broke ({name})" if isinstance(error, ConnectionError) else name
