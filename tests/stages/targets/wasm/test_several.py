# environment: wasm
"""Several inputs and outputs, of every type, as a WebAssembly module: wasmtime, Node, the page."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.common import dataset
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.wasm import emit, node, verify
from recast.stages.targets.wasm.clients.model import InputError, Model
from tests.lib.onnx_models import Workplace
from tests.lib.signatures import compiled, many
from tests.lib.wasm.browser import chromium

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    work = compiled(tmp_path_factory.mktemp("wasm"))
    work.run(emit.STAGE, "emit", batch=4)
    return work


@pytest.fixture(scope="module")
def stored(work: Workplace) -> Arrays:
    """Six samples of each input, which fill no second batch."""
    found: Arrays = dataset.read_samples(work.root / "data", "test")[0][:6].arrays
    return found


@pytest.fixture(scope="module")
def wanted(work: Workplace) -> Arrays:
    taken, _ = dataset.read_taken(work.root / "data", "test")
    found: Arrays = onnx_files.Session(many(), 1).run(taken[:6]).arrays
    return found


def same(made: Arrays, wanted: Arrays) -> None:
    assert list(made) == list(wanted)
    for name, value in wanted.items():
        assert made[name].dtype == value.dtype
        np.testing.assert_allclose(made[name], value, atol=1e-4, err_msg=name)


def test_the_python_client_takes_and_gives_arrays_by_name(work: Workplace, stored: Arrays, wanted: Arrays) -> None:
    model = Model(work.root / "emit")
    same(model.predict(model.normalise(stored)), wanted)
    prepared = model.normalise(stored)
    texts = {
        name: base64.b64encode(onnx.numpy_helper.from_array(array.astype(one["dtype"])).SerializeToString()).decode()
        for one in model.contract["inputs"]
        for name, array in ((one["name"], prepared[one["name"]]),)
    }
    same(model.predict_tensor_proto(texts), wanted)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": None}, "the input ids is missing; the model takes image, ids, mask, half, octets"),
        ({"ids": np.full((6, 3), 10)}, "the input ids holds 10; the model takes -10 to 9"),
        (
            {"mask": np.zeros((5, 8), bool)},
            "the inputs hold 6 of image, 6 of ids, 5 of mask, .* as many samples of each",
        ),
        ({"half": np.zeros((6, 7), np.float32)}, r"the input half has shape \(6, 7\); the model takes \(N, 8\)"),
        ({"image": np.full((6, 1, 8, 8), np.nan, np.float32)}, "the input image holds NaN or infinity"),
    ],
)
def test_the_python_client_says_which_input_is_wrong(
    work: Workplace, stored: Arrays, change: Arrays, said: str
) -> None:
    model = Model(work.root / "emit")
    given = {name: one for name, one in (model.normalise(stored) | change).items() if one is not None}
    with pytest.raises(InputError, match=said):
        model.predict(given)
    with pytest.raises(InputError, match="the model takes 5 inputs by name: image, ids"):
        model.predict(stored["image"])


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_client_for_node_gives_the_same(work: Workplace, stored: Arrays, wanted: Arrays, tmp_path: Path) -> None:
    from recast.stages.common.samples import Samples

    x = dataset.read_contract(work.root / "emit").normalise(Samples(stored))
    same(node.predict(work.root / "emit", x, tmp_path).arrays, wanted)


def test_verify_measures_every_output_in_both_modules(work: Workplace) -> None:
    runtimes = ["wasmtime", *(["node"] if shutil.which("node") else [])]
    metrics = work.run(verify.STAGE, "verify", parity_samples=8, runtimes=runtimes)
    assert metrics["agreement"] == 1 and metrics["sqnr_db"] > 80 and metrics["max_variant_error"] < 1e-5
    assert set(json.loads((work.root / "verify/parity.json").read_text())["outputs"]) == {"scores", "class", "energy"}


def test_the_readme_names_them_all(work: Workplace) -> None:
    text = (work.root / "emit/README.md").read_text()
    assert "| input | `ids` | int64 | (N, 3) |" in text and "| output | `energy` | float32 | (N) |" in text
    assert "Each value of `ids` is an index from 0 to 9" in text


def test_its_code_runs_as_it_stands(work: Workplace, tmp_path: Path) -> None:
    folder = shutil.copytree(work.root / "emit", tmp_path / "emit")
    code = dict(re.findall(r"```(js|python)\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", code["python"]], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("['nw']", "['ne']", "['sw']", "['se']")
    if shutil.which("node"):
        (folder / "as_it_stands.js").write_text(f"{code['js']}console.log(made.scores.length, made.class.length)\n")
        done = subprocess.run(["node", "as_it_stands.js"], cwd=folder, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["4", "1"]


@pytest.mark.slow
def test_the_page_shows_the_picture_and_all_outputs(work: Workplace, wanted: Arrays, tmp_path: Path) -> None:
    with chromium(tmp_path) as page:
        page.open(work.root / "emit/index.html")
        page.wait("document.querySelectorAll('#rows tr').length === 4")
        note = page.js("document.getElementById('note').textContent")
        assert note.startswith("class: ") and "; energy: " in note
        page.screenshot(tmp_path / "page.png", 900, 1100)
        assert page.js("document.getElementById('editor').hidden && document.getElementById('drop').hidden")
