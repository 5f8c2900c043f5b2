"""The logs of stages: where a new one goes, and how many are kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

LOGS = ".recast/logs"
LOGS_KEPT = 20
TAIL_LINES = 8
"""how much of a log the message of a failure shows"""


ERROR = "[error] "
"""how the line of a log begins that says why the stage failed"""


def last_error(root: Path, name: str) -> tuple[str, str]:
    """The newest log of the stage that DVC knows by that name, relative to the repository, and why that run failed.

    Both are empty if it never ran here, the second if its last run did not say why it failed, or succeeded.
    """
    logs = sorted((root / LOGS / name).glob("*.log"))
    if not logs:
        return "", ""
    with logs[-1].open(encoding="utf-8", errors="replace") as file:
        errors = [line.removeprefix(ERROR).rstrip() for line in file if line.startswith(ERROR)]
    return logs[-1].relative_to(root).as_posix(), errors[-1] if errors else ""


def new_log(root: Path, name: str) -> Path:
    """Where a new log of the stage that DVC knows by that name goes; the oldest ones make room for it."""
    folder = root / LOGS / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[: -(LOGS_KEPT - 1)]:
        old.unlink(missing_ok=True)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.log"
