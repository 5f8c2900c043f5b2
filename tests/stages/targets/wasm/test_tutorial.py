# environment: wasm
"""Scailable's tutorial: ResNet-20 on CIFAR-10 gives the ten logits it prints for horse5.png, in every runtime."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.wasm import calibrate, emit, quantize
from recast.stages.targets.wasm.clients.model import Model
from recast.stages.trunk.sources.cifar10_images import CLASSES
from tests.lib.contracts import contract as contract_of
from tests.lib.onnx_models import Workplace
from tests.lib.wasm.browser import chromium, program
from tests.lib.wasm.emitted import ROOT

LOGITS = (-6.3170, 0.4026, -3.2694, -2.8926, 6.9177, -2.1801, -4.8414, 20.0788, -5.9167, -1.9814)
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference() -> Path:
    """The tutorial's own weights, image and input."""
    places = [*os.environ.get("RECAST_DATA_ROOT", "").split(":"), str(ROOT.parent / "shared/data")]
    found = [Path(place) / "cifar10-resnet20" for place in places if place]
    folder = next((each for each in found if (each / "cifar10-resnet20.pth").is_file()), None)
    if folder is None:
        pytest.skip("the tutorial's weights and images are in no data root; set RECAST_DATA_ROOT")
    return folder


@pytest.fixture(scope="module")
def emitted(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tutorial")
    find = (
        "import pathlib, recast.pipeline.processes.environments as e;"
        "print(e.ensure(pathlib.Path(), 'torch', print).python)"
    )
    # the environment's own pytest must not be seen by another Python
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    found = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", find], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    command = [found.stdout.splitlines()[-1], "-m", "tests.lib.wasm.resnet"]
    arguments = [str(reference / "cifar10-resnet20.pth"), str(root)]
    subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env=variables,
        check=True,
    )
    (root / "data").mkdir()
    contract = contract_of("cifar10", (3, 32, 32), "uint8", 255.0, MEAN, STD, CLASSES)
    contract.write(root / "data")
    random = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), np.uint8)
    for split in ("test", "calibration"):
        np.savez(root / "data" / f"{split}.npz", x=random, y=np.arange(16) % 10)
    (root / "simplify").mkdir()
    onnx_files.write_model(onnx_files.read_model(root / "resnet20.onnx"), root / "simplify/model.onnx")
    work = Workplace(root)
    work.run(quantize.STAGE, "quantize")
    work.run(calibrate.STAGE, "calibrate")
    work.run(emit.STAGE, "emit", engine="native")
    return root / "emit"


def test_wasmtime(emitted: Path, reference: Path) -> None:
    text = (reference / "horse5.input.base64.txt").read_text()
    for simd in (True, False):
        np.testing.assert_allclose(Model(emitted, simd).predict_tensor_proto(text)[0], LOGITS, atol=1e-3)


def test_node(emitted: Path, reference: Path) -> None:
    script = f"""\
      const {{ load }} = await import({json.dumps(f"{emitted.as_uri()}/model.js")});
      const {{ readFileSync }} = await import("node:fs");
      const text = readFileSync({json.dumps(str(reference / "horse5.input.base64.txt"))}, "utf8");
      console.log(JSON.stringify(Array.from((await load()).predictTensorProto(text))));
    """
    command = [program("node"), "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), LOGITS, atol=1e-3)


def test_chromium(emitted: Path, reference: Path, tmp_path: Path) -> None:
    with chromium(tmp_path) as page:
        page.open(emitted / "index.html")
        page.wait("document.querySelectorAll('#rows tr').length === 10")
        page.choose("#file", reference / "images/horse5.png")
        page.wait("document.getElementById('of').textContent === 'horse5.png'")
        assert page.js("document.getElementById('class').textContent") == "horse"
        rows = page.js(
            "[...document.querySelectorAll('#rows tr')].map((row) => [row.dataset.class, row.dataset.value])"
        )
        assert not page.console
    scores = [float(score) for _, score in sorted(rows, key=lambda row: int(row[0]))]
    np.testing.assert_allclose(scores, LOGITS, atol=1e-3)
