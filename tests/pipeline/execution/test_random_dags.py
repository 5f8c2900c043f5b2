"""Random pipelines and random edits: `recast run` against `dvc repro` on a twin of the repository, round by round.

After every round the two have run the same stages and hold the same files, locks, cache and run-cache.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dvc.repo import Repo

from tests.lib import drive
from tests.lib.in_memory import in_memory as in_memory
from tests.lib.repeated import times

FOLDERS = ("", "", "a", "b/c")
SOURCES = ("src0", "a/src1", "data/d0", "data/d1")
MORE = times(60)
"""the same ones each time; each takes seconds of DVC's own"""


@cache
def _laid() -> Path:
    """What every project begins as: the sources, those in `data/` added to DVC. Making it takes a second."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    root = drive.lay(place / "laid", {source: f"{source} 0\n" for source in SOURCES})
    for folder in {*FOLDERS, "out"}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(root), contextlib.closing(Repo()) as repo:
        repo.add(["data/d0", "data/d1"])
    return root


@dataclass
class Made:
    """A stage: where it is described, what it makes, and how."""

    name: str
    folder: str
    out: str
    kind: str
    entry: dict[str, Any]
    reads: list[str]

    @property
    def address(self) -> str:
        return f"{self.folder}/dvc.yaml:{self.name}" if self.folder else self.name


@dataclass
class Project:
    """A random pipeline; the same seed makes the same one."""

    random: Random
    stages: list[Made] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    params: dict[str, dict[str, int]] = field(default_factory=dict)

    def plan(self) -> None:
        """Think of it all; `lay` writes it."""
        random = self.random
        self.sources = [*SOURCES]
        self.params = {folder: {f"k{i}": random.randrange(3) for i in range(3)} for folder in FOLDERS}
        for number in range(random.randint(3, 9)):
            self.stages.append(self._stage(f"s{number}"))

    def _stage(self, name: str) -> Made:
        random = self.random
        folder = random.choice(FOLDERS)
        kind = random.choice(["file", "file", "file", "dir", "dir", "uncached", "metric", "persist"])
        out = str(Path(random.choice([folder, "out"]), name))
        known = self.sources + [made.out for made in self.stages] * 2
        reads = sorted(set(random.sample(known, min(len(known), random.choice([0, 1, 1, 2, 2, 3])))))
        wdir = folder if random.random() < 0.7 else "a"
        near = lambda path: os.path.relpath(path, wdir or ".")  # noqa: E731
        keys = sorted(random.sample(sorted(self.params[folder]), random.randrange(3)))
        target = f"{near(out)}/part" if kind == "dir" else near(out)
        parts = [f"echo {name} {random.randrange(3)}"]
        # directories come in the order of their names, whatever lies in them
        parts += [f"find {near(read)} -type f | sort | xargs cat" for read in reads]
        parts += [f"grep '^{key}:' {near(str(Path(folder, 'params.yaml')))}" for key in keys]
        steps = [
            f"echo {name} >> {near(drive.RAN)}",
            f"if test -e {near(f'.dvc/tmp/fail-{name}')}; then exit 1; fi",
            f"mkdir -p {Path(target).parent}",
            f"( {'; '.join(parts)} ) > {target}",
        ]
        if kind == "dir":
            steps += [f"mkdir -p {near(out)}/deep", f"wc -c < {target} > {near(out)}/deep/size"]
        entry: dict[str, Any] = {"cmd": steps if random.random() < 0.3 else " && ".join(steps)}
        if wdir != folder:
            entry["wdir"] = os.path.relpath(wdir or ".", folder or ".")
        if reads:
            entry["deps"] = [near(read) for read in reads]
        if keys:
            entry["params"] = [{near(str(Path(folder, "params.yaml"))): keys}]
        flags = {"uncached": {"cache": False}, "metric": {"cache": False}, "persist": {"persist": True}}.get(kind)
        entry["metrics" if kind == "metric" else "outs"] = [{near(out): flags} if flags else near(out)]
        if random.random() < 0.08:
            entry["always_changed"] = True
        return Made(name, folder, out, kind, entry, reads)

    def lay(self, root: Path) -> None:
        shutil.copytree(_laid(), root)
        for folder in self.params:
            self.write_params(root, folder)
        self.describe(root)

    def write_params(self, root: Path, folder: str) -> None:
        (root / folder / "params.yaml").write_text("".join(f"{k}: {v}\n" for k, v in self.params[folder].items()))

    def describe(self, root: Path) -> None:
        for folder in {made.folder for made in self.stages}:
            here = {made.name: made.entry for made in self.stages if made.folder == folder}
            drive.describe(root / folder / "dvc.yaml", here)

    # -- edits

    def edit(self, roots: list[Path]) -> str:
        """One random edit, the same in all the places; what it was, for the message of a failure."""
        random = self.random
        made = random.choice(self.stages)
        what = random.choice(
            [
                "param",
                "param",
                "source",
                "revert",
                "data",
                "delete",
                "tamper",
                "freeze",
                "command",
                "fail",
                "mend",
                "lose",
            ]
        )
        detail = made.name
        if what == "param":
            folder = random.choice(sorted(self.params))
            detail = random.choice(sorted(self.params[folder]))
            self.params[folder][detail] = random.randrange(3)
            for root in roots:
                self.write_params(root, folder)
        elif what in ("source", "revert", "data"):
            detail = random.choice(self.sources[2:] if what == "data" else self.sources[:2])
            text = f"{detail} {0 if what == 'revert' else random.randrange(9)}\n"
            for root in roots:
                # a new file: the old one may be a link into the cache
                (root / detail).unlink(missing_ok=True)
                (root / detail).write_text(text)
        elif what in ("delete", "lose"):
            for root in roots:
                remove(root / made.out)
                if what == "lose":
                    (root / made.folder / "dvc.lock").unlink(missing_ok=True)
        elif what == "tamper":
            for root in roots:
                place = root / made.out / "part" if made.kind == "dir" else root / made.out
                if place.exists():
                    place.chmod(0o644)
                    place.write_text("tampered\n")
        elif what == "freeze":
            made.entry["frozen"] = not made.entry.get("frozen", False)
        elif what == "command":
            change = f"echo {random.randrange(9)} > /dev/null"
            if isinstance(made.entry["cmd"], list):
                made.entry["cmd"] = [change, *made.entry["cmd"]]
            else:
                made.entry["cmd"] = f"{change} && {made.entry['cmd']}"
        for root in roots:
            if what == "fail":
                (root / f".dvc/tmp/fail-{made.name}").touch()
            elif what == "mend":
                for mark in (root / ".dvc/tmp").glob("fail-*"):
                    mark.unlink()
            self.describe(root)
        return f"{what} {detail}"


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check(seed: int, place: Path, rounds: int) -> None:
    random = Random(seed)
    project = Project(random)
    project.plan()
    ours, theirs = place / "ours", place / "theirs"
    project.lay(ours)
    shutil.copytree(ours, theirs)
    story: list[str] = []
    failed = False
    for _ in range(rounds):
        story.append("; ".join(project.edit([ours, theirs]) for _ in range(random.randint(0, 3))))
        # no target means everything
        targets = [] if random.random() < 0.7 else [random.choice(project.stages).address]
        where = f"seed {seed}, after {story}, targets {targets}"
        force = random.random() < 0.1
        before = drive.started(ours), drive.started(theirs)
        run = drive.run(ours, targets, jobs=random.choice([1, 3, 8]), force=force)
        succeeded = drive.repro(theirs, targets, force=force)
        assert succeeded == (not run.result.failed), f"{where}: {run.result.failed}"
        ran = drive.started(ours) - before[0]
        assert ran == drive.started(theirs) - before[1], f"{where}: {ran}, {drive.started(theirs) - before[1]}"
        failed = failed or not succeeded
        status = compare(ours, theirs, where, ignored=not failed)
        if succeeded and not targets:
            nothing_is_left_to_do(project, ours, theirs, status, where)
            drive.assert_cached(ours, {made.name for made in project.stages if made.kind in ("uncached", "metric")})


def compare(ours: Path, theirs: Path, where: str, *, ignored: bool) -> dict[str, Any]:
    """The status, which is one of what must be equal."""
    assert drive.locks(ours) == drive.locks(theirs), where
    mine, native = drive.files(ours), drive.files(theirs)
    if not ignored:  # DVC takes its lines out of .gitignore again when anything fails, those of good results too
        mine, native = (
            {name: text for name, text in found.items() if ".gitignore" not in name} for found in (mine, native)
        )
    assert mine == native, where
    assert drive.cache(ours) == drive.cache(theirs), where
    status = drive.status(ours)
    assert status == drive.status(theirs), where
    return status


def nothing_is_left_to_do(project: Project, ours: Path, theirs: Path, status: dict[str, Any], where: str) -> None:
    """Each command on what the other left: only what always runs is run."""
    always = Counter(
        made.name for made in project.stages if made.entry.get("always_changed") and not made.entry.get("frozen")
    )
    shown = {name: said for name, said in status.items() if said != ["always changed"]}
    assert not shown, where
    for root, again in ((ours, drive.repro), (theirs, lambda root: drive.run(root, []))):
        before = drive.started(root), drive.locks(root), drive.cache(root)
        again(root)
        assert drive.started(root) - before[0] == always, f"{where}: {again} on what the other left"
        assert (drive.locks(root), drive.cache(root)) == before[1:], where


@pytest.mark.parametrize("seed", range(10))
def test_a_random_pipeline_is_run_as_repro_runs_it(tmp_path, seed):
    check(seed, tmp_path, rounds=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 10 + MORE))
def test_more_random_pipelines_are_run_as_repro_runs_them(in_memory, seed):
    check(seed, in_memory, rounds=5)
