"""A third executor, of another package, that needs no Dask: each stage is a job in a checkout of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.lib import napping
from tests.lib.copied import ROOT

pytestmark = pytest.mark.slow


def run(driver: Path, packages: Path, nodes: Path, *more: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(packages), str(ROOT)])
    return subprocess.run(
        [str(driver / "recast"), "run", "--on", f"spool:{nodes}", *more],
        cwd=driver, env={**napping.variables(), "PYTHONPATH": path}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True,
    )  # fmt: skip


def test_an_executor_of_another_package_runs_stages_and_what_a_node_cannot_do_another_does(tmp_path):
    targets = {"one": {"first": "{says: 1}", "second": "{says: 2}"}, "two": {"first": "{says: 3}"}}
    driver = napping.lay(tmp_path / "driver", targets, str(tmp_path / "remote"))
    (driver / "device.txt").write_text("cpu\n")
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    good = napping.clone(driver, nodes / "good")
    bad = napping.clone(driver, nodes / "bad")
    other = napping.clone(driver, nodes / "other")
    napping.git(other, "commit", "--allow-empty", "--quiet", "--message", "another")
    # its disk cannot be written to, which it notices when it fetches, and nobody could see before
    (bad / ".dvc/cache").write_text("a file where the cache should be")
    info = tmp_path / "packages/spooled-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spooled\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[recast.executors]\nspool = tests.lib.spooled:opened\n")
    found = run(driver, info.parent, nodes)
    assert found.returncode == 0, found.stdout + found.stderr
    assert (driver / "artifacts/naps/one/second/dream.txt").read_text() == "2\n"
    assert (driver / "artifacts/naps/two/first/dream.txt").read_text() == "3\n"
    assert "is tried elsewhere: worker bad: " in found.stdout and "other" not in found.stdout.replace("another", "")
    assert (good / "artifacts/naps/one/first/dream.txt").is_file()
    alone = napping.clone(driver, tmp_path / "alone")
    napping.call(alone, "run")
    assert napping.outputs(driver) == napping.outputs(alone)
