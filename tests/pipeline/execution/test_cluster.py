"""Stages on workers that share nothing with the driver but the remote: the real Dask, processes, clones."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib import napping
from tests.lib.drive import wait_until

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

TARGETS = {
    "one": {"first": "{seconds: 1, says: 1}", "second": "{says: 2}"},
    "two": {"first": "{seconds: 1, says: 3}", "second": "{says: 4}"},
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with napping.scheduler() as found:
        yield found


@pytest.fixture
def clones(tmp_path: Path) -> list[Path]:
    """The driver's, and two for workers."""
    driver = napping.lay(tmp_path / "driver", TARGETS, str(tmp_path / "remote"))
    (driver / "device.txt").write_text("cpu\n")
    return [driver, napping.clone(driver, tmp_path / "a"), napping.clone(driver, tmp_path / "b")]


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def ended(text: str, state: str) -> set[object]:
    return {event["stage"] for event in events(text) if event.get("state") == state}


def test_workers_leave_what_a_run_without_them_leaves(tmp_path, clones, address):
    driver, *rest = clones
    alone = napping.clone(driver, tmp_path / "alone")
    napping.call(alone, "run")
    with napping.workers(rest, address):
        found = napping.call(driver, "run", "--on", address, "--json").stdout
        assert ended(found, "done") >= {"naps/one/first", "naps/one/second", "naps/two/first", "naps/two/second"}
        on = {str(event["text"]) for event in events(found) if str(event.get("text", "")).startswith("on w")}
        assert on == {"on w0", "on w1"}
        logs = sorted((driver / ".recast/logs/naps-one-first").iterdir())
        assert "good night" in logs[-1].read_text()
        # what the workers did is theirs: nothing came from the driver but names, and nothing of dvc.lock is theirs
        assert not (rest[0] / "dvc.lock").exists()
        again = napping.call(driver, "run", "--on", address, "--json").stdout
        assert ended(again, "done") == set()
    assert napping.outputs(driver) == napping.outputs(alone)
    assert "up to date" in subprocess.run(
        [str(driver / ".venv/bin/dvc"), "status"], cwd=driver, env=napping.variables(), capture_output=True, text=True
    ).stdout  # fmt: skip


def test_a_worker_that_is_killed_or_hangs_costs_a_try_and_nothing_else(clones, address):
    driver, *rest = clones
    (driver / "recipes/naps.yaml").write_text(
        (driver / "recipes/naps.yaml").read_text().replace("seconds: 1", "seconds: 8")
    )
    napping.call(driver, "sync")
    napping.git(driver, "commit", "--all", "--quiet", "--message", "longer")
    for place in rest:
        napping.git(place, "pull", "--quiet")
    with napping.workers(rest, address) as (first, second):
        run = subprocess.Popen(
            [str(driver / "recast"), "run", "--on", address, "--target", "one", "--json"],
            cwd=driver, env=napping.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert run.stdout
        said = ""
        for line in run.stdout:
            said += line
            if found := re.search(r'"on (w\d)"', line):
                (first if found[1] == "w0" else second).signal(signal.SIGKILL)
                break
        said += run.stdout.read()
        assert run.wait() == 0, said
        assert ended(said, "done") >= {"naps/one/first", "naps/one/second"}
        assert "naps/one/first is tried elsewhere: worker w" in said and "1 worker could not run it" in said


def test_what_is_edited_in_a_workers_checkout_while_it_is_read_is_run_by_another(clones, address, tmp_path):
    driver, *rest = clones
    recipe = driver / "recipes/naps.yaml"
    recipe.write_text(recipe.read_text().replace("says: 2", "says: 2, seconds: 3"))
    napping.call(driver, "sync")
    napping.git(driver, "commit", "--all", "--quiet", "--message", "longer")
    for place in rest:
        napping.git(place, "pull", "--quiet")
    alone = napping.outputs_alone(driver, tmp_path / "alone")
    with napping.workers(rest, address):
        run = subprocess.Popen(
            [str(driver / "recast"), "run", "--on", address, "--json"],
            cwd=driver, env=napping.variables(), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert run.stdout
        said, on = "", ""
        for line in run.stdout:
            said += line
            event = json.loads(line)
            if on or event.get("stage") != "naps/one/second":
                continue
            if found := re.fullmatch(r"on w(\d)", str(event.get("text"))):
                on = found[1]
                edit_once_it_runs(rest[int(on)])
        assert run.wait() == 0, said
    edited = "artifacts/naps/one/first was edited there while it ran"
    assert f"naps/one/second is tried elsewhere: worker w{on}: {edited}" in said
    assert napping.outputs(driver) == alone


def edit_once_it_runs(place: Path) -> None:
    """What the second stage reads, in that checkout."""
    logs = place / ".recast/logs"
    began = lambda: any("good night" in log.read_text() for log in logs.glob("naps-one-second/*"))  # noqa: E731
    wait_until(began, "the worker runs it")
    (place / "artifacts/naps/one/first/dream.txt").write_text("another\n")


def test_workers_that_differ_are_refused_by_name_and_a_stage_that_fits_none_at_once(clones, address):
    driver, other, _ = clones
    napping.git(other, "commit", "--allow-empty", "--quiet", "--message", "another")
    with napping.workers([other], address):
        refused = napping.call(driver, "run", "--on", address, check=False)
        assert refused.returncode == 2 and "worker w0: it is at commit" in refused.stderr, refused
        napping.git(driver, "pull", "--quiet", str(other))
        (driver / "recipes/naps.yaml").write_text(
            (driver / "recipes/naps.yaml").read_text().replace("says: 4", "says: 4, resources: {labels: {a100: 1}}")
        )
        dirty = napping.call(driver, "run", "--on", address, check=False)
        assert dirty.returncode == 2 and "edits that are not: recipes/naps.yaml" in dirty.stderr, dirty
        napping.call(driver, "sync")
        napping.git(driver, "commit", "--all", "--quiet", "--message", "label")
        napping.git(other, "pull", "--quiet", str(driver))
    with napping.workers([other], address):
        refused = napping.call(driver, "run", "--on", address, check=False)
        assert refused.returncode == 2 and "asks for 1 of 'a100', and this machine has 0" in refused.stderr, refused
        assert not (driver / "artifacts").exists()
    with napping.workers([other], address, "--resource", "a100=1"):
        napping.call(driver, "run", "--on", address)


def test_a_driver_that_dies_loses_nothing_that_finished(clones, address):
    driver, *rest = clones
    with napping.workers(rest, address):
        run = subprocess.Popen(
            [str(driver / "recast"), "run", "--on", address, "--json"],
            cwd=driver, env=napping.variables(), stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert run.stdout
        for line in run.stdout:
            if re.search(r'"on w\d"', line):
                break
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        runs = driver.parent / "remote/runs"
        wait_until(lambda: sum(path.is_file() for path in runs.rglob("*")) >= 1, "the worker leaves its result")
        found = napping.call(driver, "run", "--on", address, "--json").stdout
    assert ended(found, "cached") and not ended(found, "failed")
    assert (driver / "artifacts/naps/two/second/dream.txt").read_text() == "4\n"


def test_a_worker_refuses_a_checkout_with_edits_and_one_without_a_remote(clones, address):
    _, place, other = clones
    (place / "params.yaml").write_text("data_root: elsewhere\n")
    refused = napping.call(place, "worker", address, check=False)
    assert refused.returncode == 2 and "not committed: params.yaml" in refused.stderr
    shutil.rmtree(other / ".dvc/cache", ignore_errors=True)
    (other / ".dvc/config").write_text("")
    napping.git(other, "commit", "--all", "--quiet", "--message", "none")
    refused = napping.call(other, "worker", address, check=False)
    assert refused.returncode == 2 and "default remote: none is configured" in refused.stderr
