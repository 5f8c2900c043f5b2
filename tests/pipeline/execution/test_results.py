"""The summary and the table at the end of a run."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from recast.pipeline.cli.table import show_table
from recast.pipeline.core.errors import RecastError
from recast.pipeline.execution.results import result_table, write_summary
from recast.pipeline.planning.make_plan import make_plan

MEASURED = {
    "metric": "accuracy",
    "is_share": True,
    "accuracy_float": 0.991,
    "accuracy_emitted": 0.9899,
    "agreement": 0.9985,
    "max_abs_error": 0.1,
    "size_bytes": 1_416_687,
    "samples": 100,
}


@pytest.fixture
def place(write):
    root = write({})
    for id in ("train", "akida/verify", "onnxruntime/verify"):
        folder = root / "artifacts/base" / id
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(MEASURED))
    emitted = root / "artifacts/base/akida/emit/model.fbz"
    emitted.parent.mkdir()
    emitted.write_bytes(bytes(1_416_687))
    timings = root / ".recast/timings"
    timings.mkdir(parents=True)
    for stage in ("quantize", "calibrate", "emit", "verify"):
        (timings / f"base-akida-{stage}.json").write_text(json.dumps({"seconds": 2.5}))
    return root


def test_the_summary_gathers_the_final_metrics_and_is_the_same_twice(place):
    plan = make_plan(place)
    first = write_summary(place, plan, "base").read_bytes()
    summary = json.loads(first)
    assert summary["targets"]["akida"]["verify"] == MEASURED
    assert summary["targets"]["akida"]["artifact"] == "artifacts/base/akida/emit/model.fbz"
    assert summary["trunk"]["train"] == MEASURED
    assert write_summary(place, plan, "base").read_bytes() == first


def table(place, width, only=(), unfinished=()):
    console = Console(width=width, record=True, file=io.StringIO())
    show_table(console, "base", *result_table(place, make_plan(place), "base", only, unfinished))
    return console.export_text()


def test_the_table_shows_what_was_measured(place):
    shown = table(place, 160)
    row = next(line for line in shown.splitlines() if line.lstrip().startswith("akida"))
    for cell in ("99.10 %", "98.99 %", "99.85 %", "1.42 MB", "10.0 s", "artifacts/base/akida/emit/model.fbz"):
        assert cell in row
    # no stage of this target ever ran here: its time is unknown, not zero
    assert "–" in next(line for line in shown.splitlines() if line.lstrip().startswith("onnxruntime"))


def test_the_size_is_that_of_what_is_shipped_as_it_lies_on_disk(place, monkeypatch):
    plan = make_plan(place)
    stage = plan.stages["base/akida/emit"]
    monkeypatch.setitem(plan.stages, stage.id, replace(stage, stage=replace(stage.stage, ships=("model.fbz", "w/*"))))
    folder = place / "artifacts/base/akida/emit"
    (folder / "w").mkdir()
    (folder / "w/weights").write_bytes(bytes(2000))
    (folder / "README.md").write_bytes(bytes(9000))
    (folder / "model.fbz").write_bytes(bytes(500))
    sizes = {row[0]: row[4] for row in result_table(place, plan, "base").rows}
    assert sizes == {"akida": "2.5 kB", "onnxruntime": "–"}
    (folder / "model.fbz").unlink()
    assert {row[0]: row[4] for row in result_table(place, plan, "base").rows}["akida"] == "–"


def test_the_table_can_show_some_targets(place):
    assert "onnxruntime" not in table(place, 160, only=("akida",))
    shown = table(place, 160, only=("onnxruntime", "akida"))
    assert "onnxruntime" in shown and "akida" in shown


def test_what_did_not_finish_shows_no_result_of_an_earlier_run(place):
    shown = table(place, 160, unfinished={"base/akida/emit", "base/akida/verify"})
    row = next(line for line in shown.splitlines() if line.lstrip().startswith("akida"))
    assert "99.10 %" not in row and "model.fbz" not in row


def test_a_missing_result_is_one_clear_error(place):
    (place / "artifacts/base/akida/verify/metrics.json").unlink()
    with pytest.raises(RecastError, match=r"cannot read the metrics of stage 'base/akida/verify'"):
        write_summary(place, make_plan(place), "base")


def test_in_a_narrow_terminal_paths_stay_in_one_piece(place):
    shown = table(place, 80)
    assert "akida: artifacts/base/akida/emit/model.fbz\n" in shown
    assert "98.99 %" in shown and max(len(line) for line in shown.splitlines()) <= 80
