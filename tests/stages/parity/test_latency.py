# environment: onnx
"""How long a sample takes, beside the float model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from recast.stages.base import EVENT_MARK
from recast.stages.parity import latency
from tests.stages.parity.test_verify import run

STORED = np.zeros((8, 1, 4, 4), np.uint8)


def test_both_models_take_turns_and_the_slower_one_is_seen_to_be_slower() -> None:
    called: list[str] = []

    def slow(sample: object) -> None:
        called.append("emitted")
        time.sleep(0.002)

    found = latency.measure(slow, lambda sample: called.append("float"), STORED, threads=3)
    assert called == ["emitted", "float"] * (len(called) // 2)
    assert found["median"] >= 0.002 > found["float"]["median"]
    assert found["p95"] >= found["median"]
    assert len(called) // 2 == found["runs"] + found["warm_up"]
    assert found["runs"] == found["float"]["runs"] >= latency.FEWEST_FOR_P95
    assert found["threads"] == 3 and found["cpu"]


def test_each_run_is_of_one_sample_and_all_are_taken_in_turn() -> None:
    stored = np.arange(3, dtype=np.uint8).reshape(3, 1)
    seen: list[np.ndarray] = []
    latency.measure(seen.append, lambda sample: None, stored, threads=1)
    assert {sample.shape for sample in seen} == {(1, 1)}
    assert {int(sample[0, 0]) for sample in seen} == {0, 1, 2}


def test_a_model_that_takes_longer_than_the_budget_runs_once_and_has_no_percentile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latency, "BUDGET", 0.01)
    found = latency.measure(lambda sample: time.sleep(0.02), lambda sample: None, STORED, threads=1)
    assert (found["runs"], found["warm_up"], found["p95"]) == (1, 1, None)


def test_verify_measures_it_and_no_output_holds_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    events = [json.loads(line[1:]) for line in capsys.readouterr().out.split("\n") if line.startswith(EVENT_MARK)]
    (measured,) = [event["value"] for event in events if event.get("measured") == latency.NAME]
    assert measured["median"] > 0 and measured["float"]["median"] > 0
    for path in (tmp_path / "verify").iterdir():
        assert b"median" not in path.read_bytes(), path
