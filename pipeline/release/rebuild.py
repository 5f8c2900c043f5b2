"""`recast rebuild`: a release made anew from the commit that it names, and compared byte by byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError, StageFailed
from recast.pipeline.core.git import git
from recast.pipeline.core.layout import ARTIFACTS, DEVICE, METRICS, launcher
from recast.pipeline.dvc import cpu_kind
from recast.pipeline.processes import environments
from recast.pipeline.release import files
from recast.pipeline.release.layout import CHECKSUMS, SIGNATURE
from recast.pipeline.release.verify import check

_COMPARED = 2**20
_OTHER_RECAST = "was it released by another Recast?"


@dataclass(frozen=True)
class Same:
    """A rebuild that gave the same bytes."""

    commit: str
    stages: tuple[str, ...]
    """ids, in the order in which they ran"""
    files: int


def rebuild(root: Path, folder: Path, say: Callable[[str], None]) -> Same:
    """Run every stage of the release in a checkout of its commit, release again, and compare with the folder.

    The run-cache is not asked. Raises RecastError if the release is damaged, was not made of a commit alone, or the
    repository does not have that commit; and if anything differs: the first stage and file that do. StageFailed if a
    stage fails.
    """
    manifest = check(folder).manifest
    address = Address(manifest["recipe"], manifest["target"])
    commit = _commit(root, manifest)
    with _checkout(root, commit) as project:
        say(f"running {address} anew from commit {commit[:12]}")
        _run(project, "run", address.recipe, "--target", str(address.target), "--force")
        _compare_stages(project, manifest)
        again = project.parent / "again"
        options = ["--version", manifest["version"]] if manifest["version"] else []
        options += ["--licence", manifest["licence"]] if manifest["licence"] else []
        _run(project, "release", str(address), "-o", str(again), *options)
        compared = _compare_files(folder, again)
    return Same(commit, tuple(manifest["order"]), compared)


def _commit(root: Path, manifest: Mapping[str, Any]) -> str:
    commit = str(manifest["git"]["commit"])
    if manifest["git"]["dirty"]:
        changes = ", ".join(manifest["git"]["changes"][:3])
        raise RecastError(
            f"the release was made with changes that no commit holds ({changes}), so nobody can make it again",
            "commit them and release again",
        )
    if len(commit) not in (40, 64) or set(commit) - set("0123456789abcdef"):
        raise RecastError("the release names no commit", "take another copy of the release")
    try:
        git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except RecastError:
        remedy = "run 'git fetch', or go to the repository that it was released from"
        raise RecastError(f"this repository does not have the commit {commit}", remedy) from None
    return commit


@contextmanager
def _checkout(root: Path, commit: str) -> Iterator[Path]:
    """The project in a worktree at the commit, in a temporary folder; git forgets it afterwards."""
    prefix = git(root, "rev-parse", "--show-prefix").strip()
    place = Path(tempfile.mkdtemp(prefix="recast-rebuild-"))
    tree = place / "checkout"
    try:
        git(root, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        try:
            project = tree / prefix
            _share(root, project)
            yield project
        finally:
            git(root, "worktree", "remove", "--force", str(tree))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _share(root: Path, project: Path) -> None:
    """What belongs to the machine and to no commit: its device, and the data that DVC's cache has."""
    (project / DEVICE).write_text(f"{environments.device(root)}\n", encoding="utf-8")
    cache = _dvc(root, "cache", "dir").strip()
    _dvc(project, "config", "--local", "cache.dir", cache)
    # a copy: a link into the user's cache would let a stage write into it
    _dvc(project, "config", "--local", "cache.type", "copy")
    tracked = git(project, "ls-files", "-z", "--", "*.dvc").split("\0")
    if data := [name for name in tracked if name and not name.startswith(".dvc/")]:
        _dvc(project, "checkout", "--quiet", "--", *data)


def _dvc(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RecastError(f"dvc {arguments[0]}: {said[-1] if said else done.returncode}", "see what 'dvc doctor' says")
    return done.stdout


def _run(project: Path, *arguments: str) -> None:
    """Recast of that commit in a clone, else the one that is installed; what it says goes to standard error."""
    own = launcher(project)
    is_clone = own != "recast"
    command = [own] if is_clone else [sys.executable, "-P", "-m", "recast"]
    # a clone's launcher says itself where its code lies
    variables = {key: value for key, value in os.environ.items() if not (is_clone and key == "PYTHONPATH")}
    said = sys.stderr.fileno()
    done = subprocess.run([*command, *arguments], cwd=project, env=variables, stdin=subprocess.DEVNULL, stdout=said)
    if done.returncode:
        raise StageFailed(f"'recast {' '.join(arguments[:2])}' failed at that commit", "see what is printed above")


def _compare_stages(project: Path, manifest: Mapping[str, Any]) -> None:
    """Every file of every stage, in the order in which they ran: what differs first is what the rest follows from."""
    for id in manifest["order"]:
        released: Mapping[str, str] = manifest["stages"][id]["files"]
        out = project / ARTIFACTS / id
        made = files.digests(out, files.found(out))
        for name in sorted({*released, *made}):
            if released.get(name) == made.get(name):
                continue
            what = (
                "is not made any more" if name not in made else "was not there" if name not in released else "differs"
            )
            raise RecastError(f"not the same: of stage {id} the file {name} {what}", _why(id, manifest, out))


def _why(id: str, manifest: Mapping[str, Any], out: Path) -> str:
    here = cpu_kind.of_output(out)
    if id == manifest["verified_by"] and here:
        return f"it was run on {here} here: see '{METRICS}' of both, and 'Kinds of CPU' in docs/parity.md"
    return "the stages before it are the same, so look at its environment, its threads and the kind of processor"


def _compare_files(released: Path, again: Path) -> int:
    """Every file but the signature, byte by byte; how many there are."""
    wanted, made = ({name for name in files.found(one) if name != SIGNATURE} for one in (released, again))
    for name in sorted(wanted ^ made, key=PurePosixPath):
        raise RecastError(f"not the same: {name} is in one of both alone", _OTHER_RECAST)
    # the sums follow from all others
    for name in sorted(wanted, key=lambda one: (one == CHECKSUMS, one)):
        with (released / name).open("rb") as one, (again / name).open("rb") as other:
            place = 0
            while True:
                left, right = one.read(_COMPARED), other.read(_COMPARED)
                if left != right:
                    pairs = zip(left, right, strict=False)
                    at = place + next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
                    raise RecastError(f"not the same: {name} differs from byte {at}", _OTHER_RECAST)
                if not left:
                    break
                place += len(left)
    return len(wanted)
