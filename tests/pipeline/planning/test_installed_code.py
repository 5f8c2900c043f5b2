"""Digests of installed code: over what a stage runs with, and nothing of the machine; see also test_plugins.py."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning import installed_code
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import PlannedStage
from recast.pipeline.processes.plugin_code import refuse_replaced
from recast.stages.providers import Provider, providers
from tests.lib.repository import ROOT, lay_sound


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recast as if it were installed and no part of the repository."""
    monkeypatch.setattr(Provider, "is_installed", True)
    monkeypatch.setattr(installed_code, "plugins", providers)


def planned(root: Path) -> dict[str, PlannedStage]:
    # the stage sets are there as well, and are then dependencies like any file
    return dict(make_plan(lay_sound(root, {}), ["base"]).stages)


@pytest.mark.usefixtures("installed")
def test_installed_files_are_in_digests_and_no_dependencies(tmp_path: Path) -> None:
    stages = planned(tmp_path)
    assert {id: sorted(stage.digests) for id, stage in stages.items()} == {
        id: [
            f"stages.{id.removeprefix('base/').replace('/', '.')}",
            *(["tasks.classification"] if "task" in stage.params else []),
        ]
        for id, stage in stages.items()
    }
    assert {path for stage in stages.values() for path in stage.code} == {
        "models/__init__.py",
        "models/layers.py",
        "models/net.py",
    }
    assert {("recast.lock", "stages.train")} < set(stages["base/train"].tracked)
    own = {file.path.relative_to(ROOT).as_posix() for file in stages["base/akida/emit"].installed}
    # what it imports, the packages of that, and the pins of its environment
    assert {"stages/base.py", "stages/targets/akida/emit.py", "stages/__init__.py", "envs/akida.txt"} <= own
    assert not any("cairo" in file or file.startswith(("pipeline/", "envs/torch")) for file in own)
    assert stages["base/akida/emit"].plugins == ("Recast",)


@pytest.mark.usefixtures("installed")
def test_what_a_model_imports_of_installed_code_is_in_a_digest_of_its_own(tmp_path: Path) -> None:
    planned(tmp_path)
    (tmp_path / "models/layers.py").write_text("from recast.stages.common.spelling import meant\nclass Block: ...\n")
    stages = make_plan(tmp_path, ["base"]).stages
    assert set(stages["base/train"].digests) == {"stages.train", "models.base", "tasks.classification"}
    assert set(stages["base/simplify"].digests) == {"stages.simplify"}


def test_in_a_clone_all_code_is_a_dependency(tmp_path: Path) -> None:
    assert all(stage.digests == {} and stage.installed == () for stage in planned(tmp_path).values())


def test_a_file_is_read_again_only_if_it_looks_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "code.py"
    file.write_text("a = 1\n")
    seen = installed_code.seen(file)
    read: list[Path] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or real(path))
    assert seen.is_same() and not read
    os.utime(file, (1, 1))  # as when the same version is installed again
    assert seen.is_same() and read == [file]
    file.write_text("a = 2\n")
    assert not seen.is_same()
    file.unlink()
    assert not seen.is_same()


@pytest.mark.usefixtures("installed")
def test_a_stage_whose_installed_code_was_replaced_is_refused(tmp_path: Path) -> None:
    stage = planned(tmp_path)["base/train"]
    refuse_replaced(stage)
    other = installed_code.SeenFile(stage.installed[0].path, (0,), "0" * 64)
    replaced = replace(stage, installed=(*stage.installed[1:], other))
    with pytest.raises(
        RecastError, match=r"the installed code of 'base/train' was changed meanwhile .*; run the command again"
    ):
        refuse_replaced(replaced)
