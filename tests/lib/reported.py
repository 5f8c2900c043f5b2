"""Facts for the page of `recast report`, as the runner gives them, with a model that runs in it: made up, and small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recast.stages.parity import answers
from recast.stages.targets.wasm.project import CLIENTS
from tests.lib.contracts import contract as contract_of

MARKUP = "<img src=x onerror=alert(1)>\"'&</script>"
"""what must stay text wherever it stands"""
MODULE = bytes.fromhex(
    "0061736d01000000"  # WebAssembly 1
    "010a0260017f017f6000017f"  # types: (i32) -> i32; () -> i32
    "030403000001"  # three functions of these
    "0503010001"  # a page of memory
    "072104066d656d6f72790200" "05696e7075740000" "066f75747075740001" "0372756e0002"  # exports
    "0a2803" "040041000b" "050041800" "80b"  # input(): 0; output(): 1024
    # run(): output[0] = input[0]; output[1] = -input[0]; 0
    "1b00418008" "41002a0200" "380200" "418408" "41002a0200" "8c" "380200" "41000b"
)  # fmt: skip
"""two scores: the first value of the sample, and its negative"""


def job(root: Path, out: Path, name: str = "shapes", classes: tuple[str, str] = ("bright", MARKUP)) -> dict[str, Any]:
    """A job for `recast.stages.reporting.page`, with the folders that it names below the root.

    Three targets: one verified that runs in a browser, one that failed, one that never ran.
    """
    random = np.random.default_rng(0)
    contract = contract_of("squares", (1, 8, 8), "uint8", 255.0, (0.5,), (0.5,), classes)
    x = random.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    y = (x[:, 0, 0, 0] < 128).astype(np.int64)
    y[:3] = 1 - y[:3]  # which the model gets wrong
    data, verified, emitted = (root / f"artifacts/{name}/{what}" for what in ("data", "good/verify", "good/emit"))
    for folder in (data, verified, emitted):
        folder.mkdir(parents=True)
    contract.write(data)
    np.savez(data / "test.npz", x=x, y=y)
    first = contract.normalise(x)[:, 0, 0, 0]
    scores = np.stack([first, -first], axis=1)
    answers.write(verified, scores, scores)
    chosen = scores.argmax(axis=1)
    rows = [
        f'"{classes[a].replace(chr(34), chr(34) * 2)}","{classes[b].replace(chr(34), chr(34) * 2)}"'
        for a, b in zip(y, chosen, strict=True)
    ]
    (verified / "confusion.csv").write_text("\n".join(["actual,predicted", *rows]) + "\n")
    (verified / "error_by_layer.csv").write_text(
        f'layer,relative_error,relative_error_alone\nconv1,0.01,0.01\n"{MARKUP.replace(chr(34), chr(34) * 2)}",0.02,0\n'
    )
    difference = {"max_abs_error": 0.5, "relative_error": 0.1, "sqnr_db": 20.0, "cosine": 0.99, "agreement": 1.0}
    conversion = {
        "from": "simplified",
        "to": MARKUP,
        "samples": 4,
        "output": difference,
        "blamed": MARKUP,
        "layers": [],
    }
    report = {"forms": {"simplified": MARKUP}, "cpu": "x86-64", "unexplained": [MARKUP], "conversions": [conversion]}
    (verified / "parity.json").write_text(json.dumps(report))
    (emitted / "model.wasm").write_bytes(MODULE)
    (emitted / "report.json").write_text('{"scheme": "float32"}')
    described = {**contract.as_json(), "batch": 1, "outputs": [{"name": "scores", "shape": [2], "dtype": "float32"}]}
    (emitted / "input.json").write_text(json.dumps(described))
    (data / "loss.csv").write_text("epoch,train_loss\n1,0.9\n2,0.5\n3,0.4\n")
    return {
        "root": str(root),
        "out": str(out),
        "prefix": "./",
        "cache": str(root / "cache"),
        "about": {"project": MARKUP, "made": "2026-01-01 12:00 UTC", "recast": "recast 0", "commit": "abc"},
        "recipes": [_recipe(name)],
        "compared": [_comparison(name)],
        "environments": [{"name": "onnx", "python": "3.11", "packages": ["numpy==2", MARKUP]}],
    }


def _recipe(name: str) -> dict[str, Any]:
    place = f"artifacts/{name}"
    drawn = {"template": "linear", "x": "epoch", "y": ["train_loss"], "title": MARKUP, "path": f"{place}/data/loss.csv"}
    confusion = {"template": "confusion", "x": "actual", "y": ["predicted"], "title": "Confusion"}
    layers = {
        "template": "error_by_layer",
        "x": "layer",
        "y": ["relative_error", "relative_error_alone"],
        "title": "Layers",
    }
    of_good = [
        {**confusion, "path": f"{place}/good/verify/confusion.csv"},
        {**layers, "path": f"{place}/good/verify/error_by_layer.csv"},
    ]
    stages = [
        _stage(name, "data", None, drawings=[drawn]),
        _stage(name, "emit", "good"),
        _stage(name, "verify", "good", drawings=of_good),
        _stage(name, "emit", "bad", state="failed", error=MARKUP, log=".recast/logs/1.log"),
        _stage(name, "emit", "later", state="not run", reasons=["it has never run", MARKUP], seconds=None, metrics={}),
    ]
    metrics = {"metric": "accuracy", "is_share": True, "accuracy_float": 0.925, "accuracy_emitted": 0.925}
    metrics |= {"agreement": 1.0, "sqnr_db": 200.0, "cosine": 1.0, "max_abs_error": 0.0, "samples": 40}
    latency = {"median": 0.0004, "p95": 0.0009, "runs": 500, "warm_up": 10, "threads": 1, "cpu": "A CPU"}
    good = _target(
        "good",
        state="up to date",
        verified=True,
        stages=[f"{name}/good/emit", f"{name}/good/verify"],
        verifies=f"{name}/good/verify",
        artifact=f"{place}/good/emit/model.wasm",
        size=len(MODULE),
        metric="accuracy",
        is_share=True,
        metrics=metrics,
        figures={"emit.engine": MARKUP, "verify.cycles": 12345},
        limits=[
            {"name": "min_accuracy", "bound": 0.9, "value": 0.925, "met": True, "margin": 0.025},
            {"name": "min_iou", "bound": 0.9, "value": None, "met": None, "margin": None},
        ],
        latency={**latency, "float": {"median": 0.0003, "p95": 0.0005, "runs": 500}},
        parity=f"{place}/good/verify/parity.json",
        directories={"verified": f"{place}/good/verify", "data": f"{place}/data", "emit": f"{place}/good/emit"},
        browser={
            "folder": f"{place}/good/emit",
            "module": "model.wasm",
            "scripts": [str(CLIENTS.path / file) for file in ("model.js", "answers.js", "pictures.js")],
        },
    )
    bad = _target("bad", state="failed", error=MARKUP, stages=[f"{name}/bad/emit"])
    later = _target("later", state="not run", stages=[f"{name}/later/emit"])
    return {"name": name, "file": f"recipes/{name}.yaml", "stages": stages, "targets": [good, bad, later]}


def _stage(recipe: str, name: str, target: str | None, **more: Any) -> dict[str, Any]:
    within = f"{target}/{name}" if target else name
    values = [
        {"name": "seed", "value": 0, "file": "params.yaml", "line": 3},
        {"name": "path", "value": MARKUP, "file": "", "line": None},
    ]
    return {
        "id": f"{recipe}/{within}",
        "name": within,
        "target": target,
        "uses": name,
        "environment": "onnx",
        "state": "up to date",
        "reasons": [],
        "error": "",
        "log": "",
        "seconds": 1.5,
        "inputs": [],
        "out": f"artifacts/{recipe}/{within}",
        "values": values,
        "metrics": {"agreement": 1.0},
        "drawings": [],
        **more,
    }


def _target(name: str, **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"metrics": {}, "figures": {}, "latency": {}, "directories": {}, "browser": {}}
    return {
        "name": name,
        "verified": False,
        "verifies": None,
        "error": "",
        "artifact": None,
        "size": None,
        "metric": "",
        "is_share": False,
        "limits": [],
        "parity": "",
        **empty,
        **more,
    }


def _comparison(name: str) -> dict[str, Any]:
    side = {"recipe": name, "metrics": {}, "not_current": []}
    rows = [
        {"stage": "good/verify", "name": "accuracy_emitted", "before": 0.9, "after": 0.925, "change": 0.025},
        {"stage": "good/verify", "name": "engine", "before": "emx", "after": MARKUP, "change": None},
    ]
    differences = [{"key": "train.epochs", "before": 3}, {"key": MARKUP, "before": 1, "after": MARKUP}]
    return {
        "before": {**side, "label": f"{name} at {MARKUP}"},
        "after": {**side, "label": name},
        "rows": rows,
        "differences": differences,
        "files": ["stages/a.py"],
    }
