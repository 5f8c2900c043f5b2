"""Repositories for tests: a minimal one for planning, and a whole copy of this one for runs through DVC."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.lib.copied import ROOT, copy_files

SOUND = {
    "params.yaml": "data_root: data\nstages:\n  data: {seed: 0}\n  train: {seed: 0, device: auto}\n",
    "models/__init__.py": "",
    "models/net.py": "from models.layers import Block\n\nclass Net:\n    block = Block\n",
    "models/layers.py": "class Block: ...\n",
    "recipes/targets/akida.yaml": (ROOT / "recipes/targets/akida.yaml").read_text(encoding="utf-8"),
    "recipes/targets/onnxruntime.yaml": (ROOT / "recipes/targets/onnxruntime.yaml").read_text(encoding="utf-8"),
    "recipes/base.yaml": """\
model: models.net:Net
stages:
  data: {dataset: digits}
  train: {epochs: 3}
  export: {opset: 18}
targets:
  akida: {}
  onnxruntime: {}
""",
}

_AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.org")
Write = Callable[[Mapping[str, str]], Path]


def lay_sound(place: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Lay a sound small repository, with the given files written over it (None: left out), and return its root."""
    for name, text in {**SOUND, **files}.items():
        if text is None:
            continue
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return place


def copy_repository(place: Path) -> Path:
    """A copy of this repository's files in `place`, committed."""
    copy_files(place)
    # the running environment, wherever it is: the launcher looks for it in .venv
    (place / ".venv").symlink_to(Path(sys.prefix))
    git(place, "init", "--quiet")
    commit(place, "copy")
    return place


def commit(repository: Path, message: str) -> None:
    """Commit everything in a test's repository."""
    git(repository, "add", "--all")
    git(repository, *_AUTHOR, "commit", "--allow-empty", "--quiet", "-m", message)


def tag(repository: Path, name: str) -> None:
    """An annotated tag: DVC's model registry overlooks the others."""
    git(repository, *_AUTHOR, "tag", "--annotate", name, "-m", name)


def git(repository: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=repository, check=True, stdin=subprocess.DEVNULL)


def call(repository: Path, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a repository with nothing activated; its output is in the error if it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(
        command,
        cwd=repository,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if check and done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def parsed_lock(repository: Path) -> dict[str, Any]:
    """dvc.lock as plain values."""
    lock: dict[str, Any] = YAML(typ="safe").load((repository / "dvc.lock").read_text())
    return lock


def hashes(repository: Path) -> dict[str, object]:
    """What dvc.lock says of every stage's outputs."""
    return {name: entry["outs"] for name, entry in parsed_lock(repository)["stages"].items()}
