"""The promises of `dvc repro`, kept by the real DVC on a small recipe that really trains.

One copy of the repository in a path with a space; the tests run in order, each on what the last left.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recast.pipeline.core.layout import USER_FOLDER, environments_folder
from tests.lib.repository import call, commit, copy_repository, git, hashes, parsed_lock, tag

RECIPE = """\
model: models.tiny:Tiny
stages:
  data: {dataset: digits, resize: 12, calibration_samples: 32}
  train: {epochs: 2, lr: 0.01, batch_size: 64}
  export: {opset: 18}
  simplify: {}
targets:
  onnxruntime:
    verify: {min_agreement: 0.5}
"""
MODEL = """\
from torch import Tensor, nn


class Tiny(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 10))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)
"""
TRUNK = {"guard", "guard-device", "tiny-data", "tiny-train", "tiny-export", "tiny-simplify"}
TARGET = {f"tiny-onnxruntime-{stage}" for stage in ("quantize", "calibrate", "emit", "verify")}
EVERYTHING = TRUNK | TARGET | {"tiny"}


def ran(output: str) -> set[str]:
    """Names of the stages whose command DVC, or `recast run`, ran."""
    by_dvc = re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE)
    return {*by_dvc, *(id.replace("/", "-") for id in re.findall(r"^\[[\d:]+\] (\S+): running", output, re.MULTILINE))}


def repro(repository: Path, *more: str) -> set[str]:
    return ran(call(repository, ".venv/bin/dvc", "repro", "tiny", *more).stdout)


def edit(repository: Path, old: str, new: str) -> None:
    path = repository / "recipes/tiny.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline, f"not within five minutes: {what}"
        time.sleep(0.1)


def prepare(place: Path) -> Path:
    place.mkdir(parents=True)
    copy_repository(place)
    for path in (place / "recipes").glob("*.yaml"):
        path.unlink()
    (place / "recipes/tiny.yaml").write_text(RECIPE)
    (place / "models/tiny.py").write_text(MODEL)
    call(place, "./recast", "sync")
    commit(place, "tiny")
    return place


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("one two") / "a b")


@dataclass(frozen=True)
class Left:
    """What a first run with empty caches has run and left."""

    ran: set[str]
    lock: dict[str, Any]
    cached: set[str]
    status: str
    finished: Path
    """a copy of the repository as it was then"""


def copy_of(done: Left, place: Path) -> Path:
    return Path(shutil.copytree(done.finished, place, symlinks=True))


def left(place: Path, ran: set[str], copy: Path) -> Left:
    cache = place / ".dvc/cache"
    cached = {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}
    status = call(place, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout
    return Left(ran, parsed_lock(place), cached, status, Path(shutil.copytree(place, copy, symlinks=True)))


@pytest.fixture(scope="module")
def by_repro(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Left:
    return left(repository, repro(repository), tmp_path_factory.mktemp("finished") / "by repro")


@pytest.fixture(scope="module")
def by_recast(repository: Path, by_repro: Left, tmp_path_factory: pytest.TempPathFactory) -> Left:
    clone = tmp_path_factory.mktemp("deeper") / "by recast"
    git(clone.parent, "clone", "--quiet", str(repository), str(clone))
    (clone / ".venv").symlink_to(repository / ".venv")
    (clone / "dvc.lock").unlink(missing_ok=True)
    shown = call(clone, "./recast", "run", "tiny").stdout
    return left(clone, ran(shown), tmp_path_factory.mktemp("finished") / "by recast")


def test_a_first_run_runs_everything_and_leaves_a_clean_status(repository, by_repro):
    assert by_repro.ran == EVERYTHING
    assert "up to date" in call(repository, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout
    metrics = json.loads((repository / "artifacts/tiny/onnxruntime/verify/metrics.json").read_text())
    wanted = {"accuracy_float", "accuracy_emitted", "agreement", "max_abs_error", "size_bytes", "samples"}
    assert wanted <= set(metrics) and metrics["accuracy_emitted"] > 0.5
    summary = json.loads((repository / "artifacts/tiny/summary.json").read_text())
    assert summary["targets"]["onnxruntime"]["verify"] == metrics
    commit(repository, "run")


def test_a_second_run_runs_nothing(repository):
    assert repro(repository) == set()


def test_recast_run_after_dvc_repro_runs_nothing_and_shows_the_results(repository):
    before = (repository / "dvc.lock").read_bytes()
    for _ in range(2):  # the second time from what the first remembers
        shown = call(repository, ".venv/bin/recast", "run", "tiny").stdout
        assert ran(shown) == set() and f"{len(EVERYTHING)} stages up to date" in shown
        assert "artifacts/tiny/onnxruntime/emit/model.onnx" in shown
    assert parsed_lock(repository) == YAML(typ="safe").load(before)


def test_verbs_that_ask_dvc_work_from_a_folder_below(repository):
    shown = call(repository / "recipes", "../recast", "plan", "tiny").stdout
    assert "would run" not in shown and shown.count("up to date") == len(EVERYTHING - {"guard", "guard-device", "tiny"})
    shutil.rmtree(repository / ".recast/up_to_date")
    assert f"{len(EVERYTHING)} stages up to date" in call(repository / "recipes", "../recast", "run", "tiny").stdout


def test_recast_run_leaves_what_dvc_repro_leaves(by_recast, by_repro):
    assert by_recast.ran == EVERYTHING
    assert by_recast.lock == by_repro.lock
    assert by_recast.cached == by_repro.cached and any(name.startswith("runs/") for name in by_recast.cached)
    assert "up to date" in by_recast.status
    assert repro(by_recast.finished) == set()
    assert list(by_recast.lock["stages"]) == sorted(by_recast.lock["stages"])


def test_an_edit_is_noticed_though_everything_was_remembered_as_up_to_date(repository):
    edit(repository, "min_agreement: 0.5", "min_agreement: 0.25")
    assert ran(call(repository, "./recast", "run", "tiny").stdout) == {"guard", "tiny-onnxruntime-verify"}
    assert ran(call(repository, "./recast", "run", "tiny").stdout) == set()
    # an output edited by hand comes back from the cache
    emitted = repository / "artifacts/tiny/onnxruntime/emit/model.onnx"
    right = emitted.read_bytes()
    emitted.write_bytes(b"edited")
    assert "tiny/onnxruntime/emit: cached" in call(repository, "./recast", "run", "tiny").stdout
    assert emitted.read_bytes() == right
    edit(repository, "min_agreement: 0.25", "min_agreement: 0.5")
    repro(repository)


def test_a_terminal_shows_stages_and_no_bars_of_dvc(repository):
    ours, theirs = pty.openpty()
    command = ["./recast", "run", "tiny", "--stage", "export", "--force"]
    run = subprocess.Popen(command, cwd=repository, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the last of the terminal's writers has gone
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert run.wait() == 0 and b"tiny/export: done in" in shown
    assert b"Checking cache" not in shown and b"\r  0%" not in shown and b"!\r" not in shown


def test_nothing_of_the_machine_is_in_what_is_shared(repository):
    for name in ("dvc.yaml", "dvc.lock"):
        assert str(repository) not in (repository / name).read_text()
    found = [path for path in (repository / "artifacts").rglob("*") if path.is_file()]
    assert len(found) > 10
    for path in found:
        assert str(repository).encode() not in path.read_bytes(), path


def test_deleted_artifacts_come_back_from_the_cache(repository):
    before = parsed_lock(repository)
    shutil.rmtree(repository / "artifacts")
    output = call(repository, ".venv/bin/dvc", "repro", "tiny").stdout
    assert "is cached" in output and "> ./recast stage" not in output
    assert parsed_lock(repository) == before
    assert (repository / "artifacts/tiny/onnxruntime/emit/model.onnx").is_file()


def test_a_comment_re_runs_only_the_guard(repository):
    edit(repository, "stages:\n", "stages:  # a remark\n")
    assert repro(repository) == {"guard"}


def test_an_edited_value_re_runs_exactly_what_it_feeds(repository):
    edit(repository, "min_agreement: 0.5", "min_agreement: 0.4")
    assert repro(repository) == {"guard", "tiny-onnxruntime-verify"}
    assert "min_agreement" in call(repository, ".venv/bin/dvc", "params", "diff").stdout


def test_a_value_written_into_an_empty_mapping_takes_effect_without_sync(repository):
    edit(repository, "simplify: {}", "simplify: {tool: onnxslim}")
    assert {"guard", "tiny-simplify"} <= repro(repository) <= {"guard", "tiny-simplify", "tiny"} | TARGET


def test_a_mapping_deleted_from_the_recipe_is_noticed(repository):
    edit(repository, "  simplify: {tool: onnxslim}\n", "")
    assert "stages.simplify of recipes/tiny.yaml is gone" in call(repository, "./recast", "sync").stdout
    assert {"guard", "tiny-simplify"} <= repro(repository) | {"guard"} <= {"guard", "tiny-simplify", "tiny"} | TARGET
    assert "tiny-simplify" in parsed_lock(repository)["stages"]
    edit(repository, "  export: {opset: 18}\n", "  export: {opset: 18}\n  simplify: {tool: onnxslim}\n")
    call(repository, "./recast", "sync")
    repro(repository)


def test_an_edited_model_trains_again(repository):
    path = repository / "models/tiny.py"
    path.write_text(path.read_text().replace("Conv2d(1, 4, 3)", "Conv2d(1, 5, 3)").replace("400", "500"))
    assert repro(repository) == EVERYTHING - {"guard", "guard-device", "tiny-data"}


def test_metrics_and_plots_work_on_the_results(repository, tmp_path):
    metrics = json.loads(call(repository, ".venv/bin/dvc", "metrics", "show", "--json").stdout)
    assert "artifacts/tiny/onnxruntime/verify/metrics.json" in metrics[""]["data"]
    call(repository, ".venv/bin/dvc", "plots", "show", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text()
    assert "train_loss" in page and "predicted" in page


def test_a_structural_edit_stops_dvc_at_once_with_the_remedy(repository):
    edit(repository, "targets:\n", "targets:\n  akida: {}\n")
    stopped = call(repository, ".venv/bin/dvc", "repro", "tiny", check=False)
    assert stopped.returncode != 0
    assert "dvc.yaml no longer matches the recipes; run './recast sync'" in stopped.stdout + stopped.stderr
    assert ran(stopped.stdout) == {"guard"} and "Traceback" not in stopped.stderr
    assert call(repository, "./recast", "sync", "--check", check=False).returncode == 2
    edit(repository, "  akida: {}\n", "")
    assert call(repository, "./recast", "sync", "--check").returncode == 0
    repro(repository)


def test_a_failing_stage_says_why_and_leaves_nothing_half_written(repository):
    before = parsed_lock(repository)
    edit(repository, "min_agreement: 0.4", "min_accuracy: 1.0")
    failed = call(repository, "./recast", "run", "tiny", check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1
    assert "tiny/onnxruntime/verify: failed after" in said and "log: .recast/logs/" in said
    assert "tiny: skipped, because tiny/onnxruntime/verify failed" in said
    assert "Traceback" not in said
    assert not (repository / "artifacts/tiny/onnxruntime/verify").exists()
    assert not list((repository / ".recast/running").iterdir())
    edit(repository, "min_accuracy: 1.0", "min_agreement: 0.4")
    repro(repository)
    assert parsed_lock(repository)["stages"].keys() == before["stages"].keys()


def test_a_recipe_runs_though_another_is_broken_by_either_command(repository):
    other = repository / "recipes/other.yaml"
    other.write_text("extends: tiny\ntargets:\n  onnxruntime:\n    verify: {min_agreement: 0.1}\n")
    assert ran(call(repository, "./recast", "run", "other").stdout) == {"guard", "other-onnxruntime-verify", "other"}
    described = (repository / "dvc.yaml").read_bytes()
    recorded = {name: entry for name, entry in parsed_lock(repository)["stages"].items() if name.startswith("other")}
    assert set(recorded) == {"other-onnxruntime-verify", "other"}
    other.write_text("extends: tiny\ntargets: {onnxruntime: {\n")
    edit(repository, "min_agreement: 0.4", "min_agreement: 0.3")
    start = (repository / "dvc.lock").read_bytes()
    by_dvc = call(repository, ".venv/bin/dvc", "repro", "tiny")
    assert ran(by_dvc.stdout) == {"guard", "tiny-onnxruntime-verify"}
    assert by_dvc.stderr.count("recipes/other.yaml:3:1: is not valid YAML") == 1
    by_repro, written = parsed_lock(repository), hashes(repository)
    # the same from the same start, with what DVC remembers of runs out of sight
    (repository / "dvc.lock").write_bytes(start)
    runs = repository / ".dvc/cache/runs"
    runs.rename(repository / ".dvc/tmp/runs")
    by_recast = call(repository, "./recast", "run", "tiny")
    shutil.rmtree(runs)
    (repository / ".dvc/tmp/runs").rename(runs)
    assert ran(by_recast.stdout) == {"guard", "tiny-onnxruntime-verify"}
    assert by_recast.stderr.count("recipes/other.yaml:3:1: is not valid YAML") == 1
    assert "recast: warning: recipe 'other' was left in dvc.yaml as it stood" in by_recast.stderr
    assert parsed_lock(repository) == by_repro and hashes(repository) == written
    assert recorded.items() <= by_repro["stages"].items()
    assert (repository / "dvc.yaml").read_bytes() == described
    assert "up to date" in call(repository, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout
    # the broken one itself, and a sync, are refused
    for verb in (["run", "other"], ["sync"], ["sync", "--check"]):
        refused = call(repository, "./recast", *verb, check=False)
        assert refused.returncode == 2 and refused.stderr.count("recipes/other.yaml:3:1: is not valid YAML") == 1
    other.unlink()
    call(repository, "./recast", "sync")
    edit(repository, "min_agreement: 0.3", "min_agreement: 0.4")
    repro(repository)


@contextmanager
def training(repository: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A command that has come as far as an endless training; the recipe is as before when the block ends."""
    edit(repository, "epochs: 2", "epochs: 100000")
    process = subprocess.Popen(
        command,
        cwd=repository,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # where the tests themselves run in the background, the shell has them ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert not any((repository / ".recast/running").glob("*")), "the test before left something"
        wait_until(lambda: any((repository / ".recast/running").glob("tiny-train.*")), "the training began")
        yield process
        wait_until(lambda: not any((repository / ".recast/running").iterdir()), "the stage stopped and cleaned up")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        edit(repository, "epochs: 100000", "epochs: 2")


# DVC runs a command by this shell: bash makes way for it, dash stays its parent
@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh"])
def test_a_killed_dvc_leaves_no_stage_behind_and_the_next_run_completes(repository, monkeypatch, shell):
    monkeypatch.setenv("SHELL", shell)
    with training(repository, ".venv/bin/dvc", "repro", "tiny") as dvc:
        dvc.kill()
        dvc.wait()
    assert not (repository / "artifacts/tiny/train").exists()
    repro(repository)
    assert "up to date" in call(repository, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout


def test_an_interrupted_stage_exits_130_and_keeps_what_had_finished(repository):
    with training(repository, "./recast", "stage", "tiny", "train") as stage:
        stage.send_signal(signal.SIGINT)
        _, said = stage.communicate(timeout=120)
        assert stage.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert (repository / "artifacts/tiny/train/model.safetensors").is_file()


def test_a_killed_recast_run_leaves_no_process_and_the_next_run_completes(repository):
    with training(repository, "./recast", "run", "tiny") as run:
        run.kill()
        run.wait()
        wait_until(lambda: not workers_of(repository), "the workers ended")
        call(repository, "./recast", "stage", "guard")  # any later command sweeps what a kill left
    repro(repository)
    assert "up to date" in call(repository, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout


def workers_of(repository: Path) -> list[int]:
    """Processes of the repository's environments."""
    found = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    place = str(environments_folder())
    return [int(line.split()[0]) for line in found.splitlines() if place in line]


def test_a_second_recast_run_waits_and_says_for_whom(repository):
    with training(repository, "./recast", "run", "tiny") as run:
        second = subprocess.Popen(["./recast", "run", "tiny"], cwd=repository, stdout=subprocess.PIPE, text=True)
        assert second.stdout
        said = second.stdout.readline()
        assert f"waiting for 'recast run tiny' (process {run.pid}, since" in said
        second.terminate()
        second.communicate(timeout=60)
        assert second.returncode == 130
        os.killpg(run.pid, signal.SIGINT)
        run.wait(timeout=60)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "json"])
def test_a_run_whose_reader_goes_away_stops_in_order(repository, form):
    edit(repository, "epochs: 2", "epochs: 100000")
    run = subprocess.Popen(["./recast", "run", "tiny", *form], cwd=repository, stdout=subprocess.PIPE, text=True)
    assert run.stdout and "planned" in run.stdout.readline()
    run.stdout.close()
    assert run.wait(timeout=120) == 130
    edit(repository, "epochs: 100000", "epochs: 2")
    # nothing is claimed any more
    assert "busy" not in call(repository, ".venv/bin/dvc", "status", "tiny").stderr
    repro(repository)


@pytest.mark.parametrize("to_all", [True, False], ids=["Ctrl-C in a terminal", "a signal to recast alone"])
def test_an_interrupted_recast_run_leaves_no_process_and_the_next_run_completes(repository, to_all):
    with training(repository, "./recast", "run", "tiny") as run:
        if to_all:
            os.killpg(run.pid, signal.SIGINT)
        else:
            run.send_signal(signal.SIGTERM)
        run.wait(timeout=120)
        assert run.returncode == 130
    repro(repository)
    assert "up to date" in call(repository, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout


def test_a_second_clone_restores_everything_from_the_remote(repository, tmp_path):
    call(repository, ".venv/bin/dvc", "remote", "add", "--default", "shared", str(tmp_path / "remote"))
    commit(repository, "remote")
    call(repository, ".venv/bin/dvc", "push", "--quiet", "--run-cache")
    clone = tmp_path / "second clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    (clone / ".venv").symlink_to(repository / ".venv")
    call(clone, "./recast", "sync")
    call(clone, ".venv/bin/dvc", "pull", "--quiet", "--run-cache")
    assert repro(clone) == set()
    assert (clone / "artifacts/tiny/train/model.safetensors").is_file()
    tag(repository, "tiny-onnxruntime@v1.0.0")
    call(clone, ".venv/bin/dvc", "artifacts", "get", str(repository), "tiny-onnxruntime", "--out", "fetched.onnx")
    emitted = repository / "artifacts/tiny/onnxruntime/emit/model.onnx"
    assert (clone / "fetched.onnx").read_bytes() == emitted.read_bytes()
    # the same by one command, which fetches what this plan needs and no more
    third = tmp_path / "third clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(third))
    (third / ".venv").symlink_to(repository / ".venv")
    nothing_built = {USER_FOLDER: str(tmp_path / "home")}
    shown = call(third, "./recast", "run", "tiny", "--pull", **nothing_built).stdout
    assert ran(shown) == set() and "fetching the results of" in shown
    assert hashes(third) == hashes(repository) and not (tmp_path / "home").exists()
    assert (third / "artifacts/tiny/train/model.safetensors").is_file()
    # not even with the artifacts gone, and no environment was built: nothing was trained here
    shutil.rmtree(clone / "artifacts")
    assert "> ./recast stage" not in call(clone, ".venv/bin/dvc", "repro", "tiny", **nothing_built).stdout
    assert not (tmp_path / "home").exists()


def test_pull_takes_earlier_results_from_the_remotes_run_cache_and_runs_what_it_lacks(repository, tmp_path):
    edit(repository, "lr: 0.01", "lr: 0.02")
    call(repository, "./recast", "run", "tiny")
    call(repository, ".venv/bin/dvc", "push", "--quiet", "--run-cache")  # pushed while dvc.lock records it
    then = hashes(repository)
    edit(repository, "lr: 0.02", "lr: 0.01")
    repro(repository)
    commit(repository, "back")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    (clone / ".venv").symlink_to(repository / ".venv")
    edit(clone, "lr: 0.01", "lr: 0.02")
    shown = call(clone, "./recast", "run", "tiny", "--pull", **{USER_FOLDER: str(tmp_path / "home")}).stdout
    assert ran(shown) == set() and hashes(clone) == then and not (tmp_path / "home").exists()
    # the run-cache knows a result whose files the remote has lost: it is made again
    lost = next(out for out in then["tiny-export"] if out["path"].endswith("export"))["md5"]
    for cache in (clone / ".dvc/cache",):
        (cache / "files/md5" / lost[:2] / lost[2:]).unlink(missing_ok=True)
    remote = Path(call(repository, ".venv/bin/dvc", "remote", "list").stdout.split()[1])
    (remote / "files/md5" / lost[:2] / lost[2:]).unlink()
    shutil.rmtree(clone / "artifacts")
    shown = call(clone, "./recast", "run", "tiny", "--pull").stdout
    assert ran(shown) == {"tiny-export"} and hashes(clone) == then


def test_two_clones_with_empty_caches_give_the_same_bytes_by_either_command(by_recast, by_repro):
    """`recast run` here, `dvc repro` there: the same artifacts and the same lock."""
    one, two = (artifacts(done.finished) for done in (by_recast, by_repro))
    assert one == two and len(one) > 10
    assert by_recast.lock == by_repro.lock
    assert "up to date" in by_recast.status and "up to date" in by_repro.status


def artifacts(place: Path) -> dict[str, bytes]:
    found = [path for path in (place / "artifacts").rglob("*") if path.is_file()]
    return {str(path.relative_to(place)): path.read_bytes() for path in found}


@pytest.mark.slow
def test_a_value_edited_while_dvc_runs_its_stage_is_not_recorded_with_the_old_result(by_repro, tmp_path):
    place = copy_of(by_repro, tmp_path / "edited")
    edit(place, "lr: 0.01", "lr: 0.03")
    with subprocess.Popen(
        [".venv/bin/dvc", "repro", "tiny"], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: any((place / ".recast/running").glob("tiny-train.*")), "the stage runs")
        edit(place, "lr: 0.03", "lr: 0.02")
        _, complaint = process.communicate()
    assert process.returncode != 0
    assert "what the recipes say of 'tiny/train' was edited while it ran" in complaint
    assert parsed_lock(place)["stages"]["tiny-train"] == by_repro.lock["stages"]["tiny-train"]
    assert "tiny-train" in repro(place)
    assert parsed_lock(place)["stages"]["tiny-train"]["params"]["recipes/tiny.yaml"]["stages.train"]["lr"] == 0.02


@pytest.mark.slow
def test_what_dvc_has_restored_damaged_is_not_read_by_a_stage_and_a_run_puts_it_right(by_repro, tmp_path):
    place = copy_of(by_repro, tmp_path / "damaged")
    then = hashes(place)
    listed = next(out for out in then["tiny-simplify"])["md5"]
    folder = json.loads((place / ".dvc/cache/files/md5" / listed[:2] / listed[2:]).read_text())
    oid = next(entry["md5"] for entry in folder if entry["relpath"] == "model.onnx")
    object = place / ".dvc/cache/files/md5" / oid[:2] / oid[2:]
    before = object.stat()
    object.chmod(0o644)
    content = object.read_bytes()
    object.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    object.chmod(before.st_mode & 0o777)
    os.utime(object, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.rmtree(place / "artifacts")
    edit(place, "min_agreement: 0.5", "min_agreement: 0.4")
    done = call(place, ".venv/bin/dvc", "repro", "tiny", check=False)
    assert done.returncode != 0 and "artifacts/tiny/simplify is damaged" in done.stderr
    shown = call(place, "./recast", "run", "tiny").stdout
    assert "artifacts/tiny/simplify/model.onnx is damaged in DVC's cache; set aside" in shown
    assert ran(shown) == {"tiny-simplify", "tiny-onnxruntime-verify"}
    assert hashes(place)["tiny-simplify"] == then["tiny-simplify"]
    assert "up to date" in call(place, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout
