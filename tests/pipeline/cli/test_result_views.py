"""`recast show`, `recast compare` and `recast report`, as people and tools see them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recast.pipeline.cli import result_views
from recast.pipeline.cli.main import main
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.reporting import page
from recast.pipeline.reporting.comparison import Comparison, Row, Side
from recast.pipeline.reporting.facts import RecipeFacts, State, gather
from tests.lib.repository import Write, call, git

LATENCY = {"median": 0.0004, "p95": 0.0009, "runs": 500, "warm_up": 10, "threads": 1, "cpu": "A CPU"}
METRICS = {"metric": "accuracy", "is_share": True, "accuracy_float": 0.99, "accuracy_emitted": 0.5, "agreement": 0.9}


@pytest.fixture
def place(write: Write) -> Path:
    root = write({})
    for name, content in (
        ("artifacts/base/akida/verify/metrics.json", json.dumps(METRICS)),
        ("artifacts/base/train/loss.csv", "epoch,train_loss,validation_loss\n1,0.9,1.0\n2,0.5,0.7\n3,0.4,\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def facts(root: Path, **of_akida: Any) -> RecipeFacts:
    (found,) = gather(root, make_plan(root), ["base"], None)
    targets = [replace(one, **of_akida) if one.name == "akida" else one for one in found.targets]
    return replace(found, targets=tuple(targets))


def shown(root: Path, recipe: RecipeFacts, width: int = 160, terminal: bool = False) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(width=width, file=out, force_terminal=terminal, color_system=None)
    result_views.show(console, root, recipe)
    out.flush()
    return out.buffer.getvalue().decode()  # type: ignore[attr-defined]


def test_results_are_shown_with_latency_beside_the_float_models(place: Path) -> None:
    text = shown(place, facts(place, latency={**LATENCY, "float": {"median": 0.002}}, size=1_416_687))
    (row,) = [line.split() for line in text.splitlines() if line.startswith(" akida")]
    assert row == [
        *("akida", "not", "looked", "at", "99.00", "%", "50.00", "%", "90.00", "%", "1.42", "MB"),
        *("400", "µs", "900", "µs", "2", "ms"),
    ]
    assert "500 runs after 10 to warm up, in turns with the float model in onnxruntime; 1 thread, A CPU" in text
    assert "akida: min_agreement is 0.95 and 0.9 was measured" in text
    (other,) = [line.split() for line in text.splitlines() if line.startswith(" onnxruntime")]
    assert other == ["onnxruntime", "not", "run", *["–"] * 7]


def test_what_a_target_measures_in_its_own_units_follows_the_table(place: Path) -> None:
    figures = {"emit.nps": 18, "verify.activation_sparsity": 0.512345678, "emit.engine": "a\x1b[31m\nb"}
    lines = shown(place, facts(place, figures=figures)).splitlines()
    assert "akida in its own units: emit.nps 18, verify.activation_sparsity 0.512346, emit.engine a b" in lines
    assert not any("own units" in line for line in shown(place, facts(place, figures={})).splitlines())


def test_a_failure_is_shown_without_what_would_command_the_terminal(place: Path) -> None:
    text = shown(place, facts(place, state=State.FAILED, error="no \x1b[31mlayer\nfits"))
    assert "akida failed: no layer fits" in text and "\x1b" not in text


def test_where_latency_is_of_another_machine_it_says_so(place: Path) -> None:
    assert "latency of akida: not measured on this machine" in shown(place, facts(place))


def test_a_narrow_console_gets_a_line_a_figure(place: Path) -> None:
    text = shown(place, facts(place), width=60)
    assert "    accuracy emitted: 50.00 %" in text.splitlines()


def test_curves_are_drawn_on_a_terminal_alone(place: Path) -> None:
    assert "loss by epoch" not in shown(place, facts(place))
    text = shown(place, facts(place), width=80, terminal=True)
    assert "loss by epoch" in text and "train loss" in text and "validation loss" in text
    plot = [line for line in text.splitlines() if "┤" in line or "│" in line]
    assert plot and max(map(len, plot)) <= 80


def test_json_holds_all_that_is_known(place: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main(["show", "base", "--no-status", "--json"])
    assert left.value.code == 0
    (recipe,) = json.loads(capsys.readouterr().out)["recipes"]
    akida, other = recipe["targets"]
    assert (akida["state"], akida["verified"], akida["metrics"]) == ("not looked at", False, METRICS)
    assert other["state"] == "not run"
    assert {value["name"] for value in recipe["stages"][0]["values"]} >= {"dataset"}


def test_a_comparison_shows_the_change_and_what_it_was_made_with() -> None:
    sides = [Side(name, "r", {}, {}) for name in ("old", "new")]
    rows = (Row("a/verify", "accuracy", 0.5, 0.75), Row("a/verify", "engine", "x", None), Row("b/verify", "n", 3, 3))
    console = Console(width=100, record=True, file=io.StringIO())
    result_views.comparison(console, [Comparison(*sides, rows, (), ("models/net.py",))])
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert ["a/verify", "accuracy", "0.5", "0.75", "+0.25"] in lines
    assert ["engine", "x", "–"] in lines and ["b/verify", "n", "3", "3", "="] in lines
    assert ["made", "with", "the", "same", "values"] in lines
    assert ["made", "by", "other", "code,", "pins", "or", "data:", "models/net.py"] in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "bose", "--no-status"], "no recipe named 'bose' in recipes/; did you mean 'base'"),
        (["compare", "base", "nothing", "--no-status"], "'nothing' is neither a recipe in recipes/ nor a git revision"),
        (["report", "bose", "--no-status"], "no recipe named 'bose'"),
        (["report", "base", "--no-status", "-o", "none/report.html"], "is no place for a file"),
        (["report", "base", "--no-status", "-o", "recipes"], "is no place for a file"),
    ],
)
def test_bad_input_is_one_error(place: Path, arguments: list[str], message: str, monkeypatch: Any, capsys: Any) -> None:
    git(place, "init", "--quiet")
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main(arguments)
    error = capsys.readouterr().err
    assert left.value.code == 2 and message in error and len(error.splitlines()) <= 2, error
    assert not (place / page.FILE).exists()


@pytest.mark.parametrize("arguments", [["env", "list"], ["plan", "--no-status"]])
def test_tables_come_as_json_as_well(place: Path, arguments: list[str], monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--json"])
    assert left.value.code == 0 and isinstance(json.loads(capsys.readouterr().out), dict)


@pytest.mark.slow
def test_a_report_is_written_of_what_never_ran_and_leaves_nothing_else(place: Path) -> None:
    from tests.lib.repository import ROOT

    before = {path for path in place.rglob("*") if ".recast" not in path.parts}
    said = call(
        place, str(ROOT / ".venv/bin/python"), "-m", "recast", "report", "--no-status", PYTHONPATH=str(ROOT / "src")
    )
    assert said.stdout.splitlines()[-1] == "wrote report.html"
    text = (place / "report.html").read_text(encoding="utf-8")
    assert "0 of 2 targets verified" in text and "Not run: there is nothing to show yet." in text
    assert "Whether this is of what the recipe says now was not looked at." in text  # akida's: DVC was not asked
    made = {path.name for path in place.rglob("*") if ".recast" not in path.parts and path not in before}
    assert made == {"report.html", "device.txt"}  # which is the machine's, and written by whatever asks for it
