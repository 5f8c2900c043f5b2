"""What the suite that plants faults is given, and the table that it prints of what came of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lib.own_home import own_home as own_home
from tests.lib.repository import ROOT

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

    @property
    def row(self) -> str:
        return f"| {self.fault} | {self.tried} | {self.survived} | {self.tried - self.survived} |"


TALLIES = pytest.StashKey[dict[str, Tally]]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """The row of the fault that the test's marker names."""
    marker = request.node.get_closest_marker("fault")
    assert marker, "a test of this suite says what it plants: @pytest.mark.fault('...')"
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
    """Put the rows into the page's table, each in place of the row of the same fault."""
    lines = page.read_text(encoding="utf-8").splitlines()
    made = {fault_of(row): row for row in rows}
    kept = [made.pop(fault_of(line), line) if ROW.match(line) else line for line in lines]
    last = max(index for index, line in enumerate(kept) if line.startswith("|"))
    kept[last + 1 : last + 1] = made.values()
    page.write_text("\n".join(kept) + "\n", encoding="utf-8")


def fault_of(row: str) -> str:
    match = ROW.match(row)
    assert match, row
    return match[1]
