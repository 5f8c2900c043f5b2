"""This repository's files in another folder, for tests in any environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def copy_files(place: Path) -> None:
    """Copy this repository's files to `place`: no recorded run, no environment, links as links."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in names:
        if name and name != "dvc.lock" and ((ROOT / name).is_file() or (ROOT / name).is_symlink()):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name, follow_symlinks=False)
