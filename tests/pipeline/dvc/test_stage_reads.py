"""What DVC would record wrongly of a stage that it runs: edits made meanwhile, and damage it knows nothing of."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo

from recast.pipeline.core.errors import RecastError, StageFailed
from recast.pipeline.dvc.inspection import believed_hash
from recast.pipeline.dvc.stage_reads import StageReads, content_hash
from recast.pipeline.dvc.sync import sync
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import Plan, PlannedStage
from tests.lib.repository import ROOT, parsed_lock


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """A recipe whose results were laid there, and committed to DVC."""
    from tests.lib.repository import SOUND

    place: Path = tmp_path_factory.mktemp("ran")
    files = {**SOUND, ".dvcignore": (ROOT / ".dvcignore").read_text(), "device.txt": "cpu\n"}
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    plan = make_plan(place)
    for stage in plan.stages.values():
        for code in stage.code:
            if not (place / code).exists():
                (place / code).parent.mkdir(parents=True, exist_ok=True)
                (place / code).write_text("# python: 3.11\n")
        (place / stage.out / "in").mkdir(parents=True)
        (place / stage.out / "metrics.json").write_text(f'{{"of": "{stage.id}"}}')
        (place / stage.out / "in/weights").write_bytes(bytes(1000))
    for path in ("artifacts/guard.txt", "artifacts/base/summary.json"):
        (place / path).write_text("dvc.yaml matches the recipes\n")
    sync(place, plan, lambda text: None)
    with contextlib.chdir(place), contextlib.closing(Repo.init(no_scm=True)) as repo:
        repo.commit(force=True)
    return place


@pytest.fixture
def root(ran, tmp_path) -> Path:
    return Path(shutil.copytree(ran, tmp_path / "copy"))


def planned(root: Path) -> tuple[Plan, PlannedStage]:
    plan = make_plan(root)
    return plan, plan.stages["base/train"]


def test_folders_and_files_have_the_hashes_that_dvc_gives_them(root):
    for entry in parsed_lock(root)["stages"].values():
        for item in [*entry.get("deps", ()), *entry["outs"]]:
            assert content_hash(root / item["path"]) == item["md5"], item["path"]
    assert content_hash(root / "nowhere") == ""


EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a param": (lambda root: swap(root / "recipes/base.yaml", "epochs: 3", "epochs: 4"), "what the recipes say of"),
    "a default": (lambda root: swap(root / "params.yaml", "device: auto", "device: cpu"), "what the recipes say of"),
    "the model": (lambda root: swap(root / "models/net.py", "Block\n", "Block  # other\n"), "models/net.py"),
    "its code": (lambda root: (root / "envs/torch.txt").write_text("# python: 3.12\n"), "envs/torch.txt"),
    "an input": (lambda root: (root / "artifacts/base/data/new").touch(), "artifacts/base/data"),
    "the device": (lambda root: (root / "device.txt").write_text("cuda\n"), "device.txt"),
    "a recipe deleted": (lambda root: (root / "recipes/base.yaml").unlink(), "what the recipes say of"),
}


def swap(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize("case", EDITS)
def test_what_is_edited_while_it_runs_fails_it_and_its_output_is_taken_away(root, case):
    edit, said = EDITS[case]
    plan, stage = planned(root)
    reads = StageReads(root, plan, stage)
    edit(root)
    with pytest.raises(StageFailed, match=f"{said}.* edited while it ran") as failure:
        reads.refuse_edited()
    assert ".recast/failed/base-train" in failure.value.remedy
    assert not (root / stage.out).exists() and (root / ".recast/failed/base-train/metrics.json").exists()


@pytest.mark.parametrize("edited", ["plugins: {one: {sha256: b}}\n", "plugins: {}\n", "[", None])
def test_a_record_of_installed_code_that_is_brought_up_to_date_meanwhile_fails_it(root, edited):
    plan, stage = planned(root)
    stage = dataclasses.replace(stage, tracked=(*stage.tracked, ("recast.lock", "plugins.one.sha256")))
    (root / "recast.lock").write_text("plugins: {one: {sha256: a}, two: {sha256: a}}\n")
    reads = StageReads(root, plan, stage)
    (root / "recast.lock").write_text("plugins: {one: {sha256: a}, two: {sha256: b}}\n")
    reads.refuse_edited()  # of another's code
    (root / "recast.lock").unlink() if edited is None else (root / "recast.lock").write_text(edited)
    with pytest.raises(StageFailed, match=r"what recast.lock says of 'base/train' was edited while it ran"):
        reads.refuse_edited()


def test_what_does_not_concern_it_is_let_be(root):
    plan, stage = planned(root)
    reads = StageReads(root, plan, stage)
    swap(root / "recipes/base.yaml", "opset: 18", "opset: 17")
    swap(root / "params.yaml", "data: {seed: 0}", "data: {seed: 1}")
    (root / "recipes/other.yaml").write_text("stages: [")
    os.utime(root / "models/net.py")
    (root / "artifacts/base/export/metrics.json").write_text("{}")
    reads.refuse_edited()
    assert (root / stage.out).exists()


def test_an_input_that_dvc_takes_for_intact_is_refused_if_it_is_not(root):
    plan, stage = planned(root)
    StageReads(root, plan, stage).refuse_damaged()
    weights = root / "artifacts/base/data/in/weights"
    # as if DVC had checked it out from a damaged object
    believed_hash(root, "artifacts/base/data")
    before = weights.stat()
    weights.write_bytes(b"\1" + bytes(999))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RecastError, match=r"artifacts/base/data is damaged.*'recast run base'"):
        StageReads(root, plan, stage).refuse_damaged()
    # what was edited by hand DVC sees, and records as it is
    os.utime(weights)
    StageReads(root, plan, stage).refuse_damaged()


def test_what_nobody_has_recorded_cannot_be_compared(root):
    plan, stage = planned(root)
    (root / "artifacts/base/data/in/weights").write_bytes(b"other")
    (root / "dvc.lock").unlink()
    StageReads(root, plan, stage).refuse_damaged()
