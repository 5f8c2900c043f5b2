"""The DVC commands Recast runs, by the DVC of its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import RecastError, StageFailed

# a stage gets three seconds to stop; DVC then notes that it failed and removes its locks
INTERRUPT_SECONDS = 4.5


def repro(root: Path, targets: Iterable[str], *, force: bool, dry: bool) -> None:
    """`dvc repro` of the named stages, its output shown as it comes. Raises StageFailed if it fails."""
    options = [*(["--force"] if force else []), *(["--dry"] if dry else [])]
    process = subprocess.Popen([*_dvc(), "repro", *options, *targets], cwd=root, env=_variables())
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _end(process)
        raise
    if code:
        raise StageFailed(
            "the run stopped, as said above", "mend that and run the same command again: what finished is kept"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let DVC end in order: Ctrl-C in a terminal reached it and its stage too, a signal to Recast alone did not."""
    try:
        process.wait(timeout=INTERRUPT_SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()


def changed_stages(root: Path, targets: Iterable[str]) -> frozenset[str]:
    """Names (as in dvc.yaml) of the stages that `dvc status` calls changed; those that read them are not among them."""
    command = [*_dvc(), "status", "--json", "--with-deps", *targets]
    done = subprocess.run(command, cwd=root, env=_variables(), capture_output=True, text=True)
    try:
        status = json.loads(done.stdout)
    except ValueError:
        reason = (done.stderr.strip() or done.stdout.strip()).removeprefix("ERROR: ")
        raise RecastError(f"dvc cannot tell what has changed: {reason}", "'dvc status' may say more") from None
    return frozenset(status)


def _dvc() -> list[str]:
    return [sys.executable, "-m", "dvc"]


def _variables() -> dict[str, str]:
    return {**os.environ, "DVC_NO_ANALYTICS": "1"}
