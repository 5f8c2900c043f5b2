"""The same recipes, from empty caches, in other surroundings: every target's artifacts have the same hashes."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.conftest import Tally, times
from tests.lib.repository import call, commit, copy_repository, hashes

TIMES = times(2)
CNN = """\
model: models.digits_cnn:DigitsCnn
stages:
  data: {dataset: digits, resize: 28, train_samples: 300, test_samples: 30}
  train: {epochs: 1, batch_size: 64, optimizer: adam, lr: 2.0e-3}
  export: {opset: 18, dynamic_batch: true}
  simplify: {}
targets:
  akida: {}
  onnxruntime: {}
  wasm: {}
  c: {}
  zml: {}
"""
MLP = """\
model: models.tiny_mlp:TinyMlp
stages:
  data: {dataset: digits, resize: 14, train_samples: 300, test_samples: 30}
  train: {epochs: 1, batch_size: 64, optimizer: adam, lr: 5.0e-3}
  export: {opset: 12, dynamic_batch: true}
  simplify: {}
targets:
  ezkl: {emit: {insecure_srs: true}}
  cairo: {}
"""
STAGES = 38
"""what the two recipes have in all"""
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati")
LOCALES = ("C", "C.UTF-8", "tr_TR.UTF-8", "de_DE.UTF-8")


@pytest.mark.slow
@pytest.mark.fault(
    "all targets from empty caches, with another path, umask, time zone, locale, hash seed, home, threads"
)
def test_the_same_hashes_elsewhere(tmp_path: Path, tally: Tally) -> None:
    chance = random.Random(19)
    first: dict[str, object] = {}
    for number in range(TIMES):
        place = tmp_path / ("x" * chance.randrange(1, 80)) / f"a clone {number}"
        place.parent.mkdir(exist_ok=True)
        copy_repository(place)
        home = tmp_path / f"home {number}"
        home.mkdir()
        variables = {
            "HOME": str(home),
            "TZ": ZONES[number % len(ZONES)],
            "LC_ALL": LOCALES[number % len(LOCALES)],
            "PYTHONHASHSEED": str(chance.randrange(2**32)),
            "OMP_NUM_THREADS": str(chance.randrange(1, 5)),
            "DVC_SITE_CACHE_DIR": str(tmp_path / f"databases {number}"),
        }
        before = os.umask(chance.choice((0o022, 0o002, 0o077)))
        try:
            made = made_at(place, variables)
        finally:
            os.umask(before)
        first = first or made
        assert len(made) == STAGES, sorted(made)
        other = [name for name, outs in made.items() if outs != first[name]]
        tally.count(f"{variables} at {place}: {other}" if other else None)
    assert not tally.losses, tally.losses[:3]


def made_at(place: Path, variables: dict[str, str]) -> dict[str, object]:
    """What all of it is hashed as."""
    for recipe in (place / "recipes").glob("*.yaml"):
        recipe.unlink()
    (place / "recipes/cnn.yaml").write_text(CNN)
    (place / "recipes/mlp.yaml").write_text(MLP)
    (place / "dvc.yaml").unlink()
    call(place, "./recast", "sync", **variables)
    commit(place, "these alone")
    call(place, "./recast", "run", **variables)
    return hashes(place)
