"""A recipe of the zml target from its data to a verified folder, by the real `recast run`, twice: sound and broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lib.repository import call, commit, copy_repository

pytestmark = pytest.mark.slow

RECIPE = """\
model: models.tiny:Tiny
stages:
  data: {dataset: digits, resize: 12, calibration_samples: 32}
  train: {epochs: 3, lr: 0.01, batch_size: 64}
  export: {opset: 18}
  simplify: {}
targets:
  zml:
    verify: {min_accuracy: 0.8}
"""
MODEL = """\
from torch import Tensor, nn
from torch.nn import functional as F


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("zml recipe") / "repository"
    place.mkdir()
    copy_repository(place)
    for path in (place / "recipes").glob("*.yaml"):
        path.unlink()
    (place / "recipes/tiny.yaml").write_text(RECIPE)
    (place / "models/tiny.py").write_text(MODEL)
    call(place, "./recast", "sync")
    commit(place, "tiny")
    call(place, "./recast", "run", "tiny")
    return place


def test_a_run_leaves_a_verified_folder_and_a_clean_status(repository: Path) -> None:
    assert "up to date" in call(repository, ".venv/bin/dvc", "status", "--with-deps", "tiny").stdout
    emitted = {path.name for path in (repository / "artifacts/tiny/zml/emit").iterdir()}
    assert {"model.zig", "torch2zml.zig", "model.safetensors", "BUILD.bazel", "ZML_COMMIT", "README.md"} <= emitted
    metrics = json.loads((repository / "artifacts/tiny/zml/verify/metrics.json").read_text())
    assert metrics["checked"] == "executed"
    assert metrics["accuracy_emitted"] > 0.8 and metrics["agreement"] == 1
    assert metrics["max_layer_error"] < 1e-4


def test_a_second_run_runs_nothing(repository: Path) -> None:
    assert ": running" not in call(repository, "./recast", "run", "tiny").stdout


def test_blame_shows_the_zig_layer_by_layer_and_blames_none(repository: Path) -> None:
    report = json.loads(call(repository, "./recast", "blame", "tiny/zml", "--json").stdout)
    conversion = report["conversions"][-1]
    assert (conversion["from"], conversion["to"], conversion["blamed"]) == ("simplified", "emitted", None)
    # BatchNorm is folded, into the convolution by the exporter and by emit: both give what `norm` gives
    assert [layer["layer"] for layer in conversion["layers"]] == ["norm", "relu", "head.0", "head.1", "head.2"]
    assert min(layer["alone"]["sqnr_db"] for layer in conversion["layers"]) > 100
