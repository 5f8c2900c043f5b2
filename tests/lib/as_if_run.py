"""A repository of small recipes as if they had run: their outputs are laid there and committed to DVC."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from dvc.repo import Repo

from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.sync import sync
from recast.pipeline.planning.make_plan import make_plan
from tests.lib.repository import ROOT, Write
from tests.lib.small_dvc import LAUNCHER


def lay_as_if_run(write: Write, files: Mapping[str, str]) -> Path:
    """The sound repository with these files written over it, up to date for DVC and for Recast."""
    ignored = (ROOT / ".dvcignore").read_text()
    place = write({"recast": LAUNCHER, "device.txt": "cpu\n", ".dvcignore": ignored, **files})
    (place / "recast").chmod(0o755)
    sync(place, make_plan(place), lambda text: None)
    plan = make_plan(place)
    for stage in plan.stages.values():
        for code in stage.code:
            if not (place / code).exists():
                (place / code).parent.mkdir(parents=True, exist_ok=True)
                (place / code).write_text("# python: 3.11\n")
        (place / stage.out).mkdir(parents=True)
        (place / stage.out / "metrics.json").write_text(f'{{"of": "{stage.id}"}}')
    for name in plan.recipes:
        (place / f"artifacts/{name}/summary.json").write_text("{}")
    dvcfile.pass_guard(place, plan)
    with contextlib.chdir(place), contextlib.closing(Repo.init(no_scm=True)) as repo:
        repo.commit(force=True)
    return place
