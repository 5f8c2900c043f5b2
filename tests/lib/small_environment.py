"""Environments that are built in a second, and one that never is."""

from __future__ import annotations

from pathlib import Path

import psutil

from recast.pipeline.core.layout import environments_folder

SMALL = "# python: 3.11\n# size: 1 MB\niniconfig==2.3.0\n"
# a package whose installation takes as long as it is let, in processes of its own
_PACKAGE = {
    "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n'
    '[project]\nname = "slow"\nversion = "1"\n',
    "slow.py": "import pathlib, subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "pathlib.Path(__file__).with_name('pid').write_text(str(child.pid))\ntime.sleep(600)\n",
}


def quiet(text: str) -> None:
    """What is said of a build."""


def folders() -> list[Path]:
    """What lies where environments do, but for the locks."""
    return sorted(path for path in environments_folder().glob("*") if path.is_dir())


def lay(root: Path, text: str = SMALL, name: str = "small") -> Path:
    """A repository with that environment."""
    (root / "envs").mkdir(parents=True, exist_ok=True)
    (root / f"envs/{name}.txt").write_text(text, encoding="utf-8")
    return root


class Slow:
    """The package, and the process far below uv that installs it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        for name, text in _PACKAGE.items():
            (folder / name).write_text(text)
        self.folder = folder
        self.pins = f"# python: 3.11\nslow @ {folder.as_uri()}\n"

    @property
    def process(self) -> psutil.Process | None:
        """None if there is none just now."""
        try:
            found = psutil.Process(int((self.folder / "pid").read_text()))
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return None if found.status() == psutil.STATUS_ZOMBIE else found

    def breaks(self) -> None:
        """From here on it cannot be installed."""
        (self.folder / "slow.py").write_text("raise SystemExit('it cannot be built')")
