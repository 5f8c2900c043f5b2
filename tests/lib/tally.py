"""What tests that plant faults count, and the table that they print of what came of them."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.selection import ROOT

WRITE = "RECAST_WRITE_RELIABILITY"
"""set it, and the rows of the faults that were planted are put into docs/reliability.md"""
PAGE = ROOT / "docs/reliability.md"
ROW = re.compile(r"^\| (.+?) \| \d+ \| \d+ \| \d+ \|$")


@dataclass
class Tally:
    """How often a fault was planted, and what came of it."""

    fault: str
    tried: int = 0
    survived: int = 0
    losses: list[str] = field(default_factory=list)

    def count(self, loss: str | None) -> None:
        """Once more; `loss` says what was lost, None if nothing was."""
        self.tried += 1
        if loss is None:
            self.survived += 1
        else:
            self.losses.append(loss)

    def refused_or_done(self, what: str, do: Callable[[], object], refusal: type[Exception], within_s: float) -> bool:
        """Once more: `do` is done or refused in our words, in time; whether it is refused.

        Any other exception is a loss, as is to take longer.
        """
        begun, loss, refused = time.monotonic(), None, False
        try:
            do()
        except refusal as error:
            refused = True
            if not str(error).strip() or not getattr(error, "remedies", True):  # a StageError has some
                loss = f"{what}: refused without a word"
        except BaseException as error:
            loss = f"{what}: {type(error).__name__}: {error}"
        if (took := time.monotonic() - begun) > within_s:
            loss = f"{what}: took {took:.1f} s"
        self.count(loss)
        return refused

    @property
    def row(self) -> str:
        return f"| {self.fault} | {self.tried} | {self.survived} | {self.tried - self.survived} |"


TALLIES = pytest.StashKey[dict[str, Tally]]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """The row of the fault that the test's marker names."""
    marker = request.node.get_closest_marker("fault")
    assert marker, "a test that counts says what it plants: @pytest.mark.fault('...')"
    tallies = request.config.stash.setdefault(TALLIES, {})
    return tallies.setdefault(marker.args[0], Tally(marker.args[0]))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    rows = [made.row for made in config.stash.get(TALLIES, {}).values() if made.tried]
    if rows:
        terminalreporter.write_sep("=", "faults")
        terminalreporter.write_line("\n".join(["| fault | tried | survived | lost |", "|---|---|---|---|", *rows]))
        # a test that was cut short has not counted what it was at
        if os.environ.get(WRITE) and exitstatus == pytest.ExitCode.OK:
            write(PAGE, rows)


def write(page: Path, rows: list[str]) -> None:
    """Put the rows into the page's table, each in place of the row of the same fault; two sessions do so in turn."""
    with page.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = file.read().splitlines()
        made = {fault_of(row): row for row in rows}
        kept = [made.pop(fault_of(line), line) if ROW.match(line) else line for line in lines]
        last = max(index for index, line in enumerate(kept) if line.startswith("|"))
        kept[last + 1 : last + 1] = made.values()
        file.seek(0)
        file.write("\n".join(kept) + "\n")
        file.truncate()


def fault_of(row: str) -> str:
    match = ROW.match(row)
    assert match, row
    return match[1]
