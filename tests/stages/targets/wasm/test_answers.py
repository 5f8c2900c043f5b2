# environment: wasm
"""What the page says of a model's outputs, by task: answers.js in Node, and the page in a browser."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.targets.wasm.clients.model import Model
from recast.stages.targets.wasm.project import CLIENTS
from tests.lib.wasm import tasks
from tests.lib.wasm.browser import chromium, program

SAID: dict[str, tuple[list[str], list[int], list[float], str, str, list[list[Any]]]] = {
    # task -> classes, shape of the output, outputs; text, note, rows: name, value, best
    "classification": (
        ["cat", "dog"], [2], [0.5, 2.5], "dog", "", [["dog", "2.5000", True], ["cat", "0.5000", False]],
    ),
    "binary": (
        ["no", "yes"], [1], [-1.0], "no", "Logit -1; above 0 it is yes",
        [["yes", "26.9 %", False], ["no", "73.1 %", True]],
    ),
    "multilabel": (
        ["hot", "wet", "old"], [3], [1.0, -1.0, 2.0], "old, hot", "2 of 3 labels hold, those above 50 %",
        [["old", "88.1 %", True], ["hot", "73.1 %", True], ["wet", "26.9 %", False]],
    ),
    "multilabel without any": (
        ["hot"], [1], [-1.0], "No label", "0 of 1 labels hold, those above 50 %", [["hot", "26.9 %", False]],
    ),
    "regression": ([], [1], [0.25], "0.25", "", []),
    "regression of two": ([], [2], [0.25, -3.0], "2 values", "", [["0", "0.25", False], ["1", "-3", False]]),
    "reconstruction": (
        [], [2], [1.0, 2.0], "0.5",
        "Anomaly score: the mean square error between the input and what the model makes of it",
        [["0", "1", False], ["1", "2", False]],
    ),
    "segmentation": (
        ["a", "b"], [2, 1, 4], [0.0, 3, 3, 3, 1, 1, 1, 4], "2 classes", "in 4 × 1 pixels",
        [["a", "50.0 %", True], ["b", "50.0 %", False]],
    ),
    "segmentation of one channel": (
        ["a", "b"], [1, 2, 2], [1.0, -1, -1, -1], "2 classes", "in 2 × 2 pixels",
        [["a", "75.0 %", True], ["b", "25.0 %", False]],
    ),
    "a plugin's": (
        [], [3, 20], [0.0] * 60, "3 × 20 values", "The first 50 are shown", [[str(n), "0", False] for n in range(50)],
    ),
}  # fmt: skip


def test_every_task_has_its_answer() -> None:
    contracts = [
        {"task": {"name": what.partition(" ")[0]}, "classes": classes, "outputs": [{"shape": shape}]}
        for what, (classes, shape, *_) in SAID.items()
    ]
    given = [[contract, outputs] for contract, (_, _, outputs, *_) in zip(contracts, SAID.values(), strict=True)]
    code = (CLIENTS.path / "answers.js").read_text()
    script = f"""{code}
    const said = {json.dumps(given)}.map(([contract, outputs]) =>
      answerOf(contract, Float32Array.from(outputs), Float32Array.of(1, 1)));
    console.log(JSON.stringify(said));"""
    done = subprocess.run([program("node"), "--eval", script], capture_output=True, text=True, check=True)
    for (what, (*_, text, note, rows)), found in zip(SAID.items(), json.loads(done.stdout), strict=True):
        assert (found["text"], found["note"]) == (text, note), what
        assert [[row["name"], row["value"], row["best"]] for row in found["rows"]] == rows, what


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def text(page: Any, name: str) -> str:
    return str(page.js(f"document.getElementById('{name}').textContent"))


@pytest.mark.slow
@pytest.mark.parametrize("task", tasks.FORMS)
def test_the_page_shows_the_answer_of_a_task(page: Any, tmp_path: Path, task: str) -> None:
    folder = tasks.emitted(tmp_path, task)
    page.open(folder / "index.html")
    page.wait("document.getElementById('class').textContent !== 'Loading…'")
    stored = np.load(tmp_path / "data/test.npz")["x"][:1]
    model = Model(folder)
    prepared = model.normalise(stored)
    outputs = model.predict(prepared)[0]
    expected = {
        "classification": lambda: model.contract["classes"][outputs.argmax()],
        "binary": lambda: model.contract["classes"][int(outputs[0] > 0)],
        "multilabel": lambda: {
            name for name, logit in zip(model.contract["classes"], outputs, strict=True) if logit > 0
        },
        "regression": lambda: float(outputs[0]),
        "reconstruction": lambda: float(np.square(outputs - prepared[0]).mean()),
        "segmentation": lambda: f"{len(np.unique(outputs.argmax(0)))} classes",
        "embedding": lambda: "64 values",
        "none": lambda: "2 values",
        "detection": lambda: "3 × 16 × 16 values",
    }[task]()
    said: Any = text(page, "class")
    if isinstance(expected, set):
        assert set(said.split(", ")) == expected
    elif isinstance(expected, float):
        assert float(said) == pytest.approx(expected, rel=1e-3)
    else:
        assert said == expected
    shown = page.js("!document.getElementById('made-figure').hidden && !document.getElementById('pictures').hidden")
    assert shown is (task in ("reconstruction", "segmentation"))
    page.screenshot(tmp_path / "narrow.png", 390, 900, "dark")
    assert page.js("document.documentElement.scrollWidth") == 390
    assert not page.console and page.js("document.getElementById('error').hidden")


@pytest.mark.slow
def test_values_are_edited_in_the_page(page: Any, tmp_path: Path) -> None:
    from tests.lib.wasm.emitted import text_workplace

    text_workplace(tmp_path).run(tasks.emit.STAGE, "emit")
    page.open(tmp_path / "emit/index.html")
    page.wait("document.getElementById('class').textContent !== 'Loading…'")
    assert text(page, "values-label") == "12 values as int64, from 0 to 19"

    def tried(values: str) -> tuple[str, str]:
        page.js(f"document.getElementById('values').value = {json.dumps(values)}")
        page.js("document.getElementById('editor').requestSubmit()")
        return text(page, "of"), text(page, "error") if page.js("!document.getElementById('error').hidden") else ""

    before = text(page, "of")
    for values, message in (
        ("1 2", "2 values are written, and the model takes 12"),
        ("1.5 " + "1 " * 11, "'1.5' is no whole number from -9223372036854775808 to 9223372036854775807"),
        ("1 " * 11 + "20", "the input holds 20, first at 11; the model takes whole numbers from -20 to 19"),
    ):
        assert tried(values) == (before, message)
    assert tried(", ".join(["19"] * 12)) == ("Your values", "")
    model = Model(tmp_path / "emit")
    assert text(page, "class") == model.contract["classes"][model.predict(np.full((1, 12), 19)).argmax()]
    assert not page.console
