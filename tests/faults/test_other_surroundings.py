"""The same recipes, from empty caches, in other surroundings: every target's artifacts have the same hashes.

On workers of other hosts too, where all that is left in the end is the same, to the last byte.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lib import machines, napping, remotes
from tests.lib.repeated import times
from tests.lib.repository import call, commit, copy_repository, hashes
from tests.lib.tally import Tally

TIMES = times(2)
REMOTES = ("ssh", "s3", "folder")[: times(1)]
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
SOLC = ".recast/local/solc"
"""Solidity's compiler, which ezkl's emit fetches"""
STAGES = 38
"""what the two recipes have in all"""
AT_HOME = ("guard", "guard-device", "cnn", "mlp")
"""what workers are not given"""
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati")
LOCALES = ("C", "C.UTF-8", "tr_TR.UTF-8", "de_DE.UTF-8")


@pytest.mark.slow
@pytest.mark.fault(
    "all targets from empty caches, with another path, umask, time zone, locale, hash seed, home, threads"
)
def test_the_same_hashes_elsewhere(alone: Path, tmp_path: Path, tally: Tally) -> None:
    chance = random.Random(19)
    first = hashes(alone)
    assert len(first) == STAGES, sorted(first)
    tally.count(None)
    for number in range(1, TIMES):
        place = tmp_path / ("x" * chance.randrange(1, 80)) / f"a clone {number}"
        place.parent.mkdir(exist_ok=True)
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
            call(lay(place, variables), "./recast", "run", **variables)
        finally:
            os.umask(before)
        made = hashes(place)
        other = [name for name in first | made if made.get(name) != first.get(name)]
        tally.count(f"{variables} at {place}: {other}" if other else None)
    assert not tally.losses, tally.losses[:3]


@pytest.mark.slow
@pytest.mark.fault(
    "all targets on workers of two other hosts that share nothing but a remote: the same to the last byte"
)
@pytest.mark.parametrize("kind", REMOTES)
def test_the_same_on_workers(
    kind: str, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    with ExitStack() as stack:
        (address, storage), hosts = stack.enter_context(machines.network(2))
        remote = stack.enter_context(remotes.at(kind, storage, tmp_path, monkeypatch))
        driver = lay(tmp_path / "driver", {}, remote)
        places = [napping.clone(driver, tmp_path / f"clone{number}") for number in range(len(hosts))]
        for place in places:  # where a host in reach of npm's registry would have fetched it to
            shutil.copytree(alone / SOLC, place / SOLC)
        at = stack.enter_context(napping.scheduler(address))
        stack.enter_context(napping.workers(places, at, within=[host.within for host in hosts]))
        said = call(driver, "./recast", "run", "--on", at, "--json").stdout
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        on = {event["stage"]: event["text"] for event in events if re.fullmatch(r"on w\d", event.get("text", ""))}
        assert len(on) == STAGES - len(AT_HOME) and set(on.values()) == {"on w0", "on w1"}, said
        here, there = napping.outputs(alone), napping.outputs(driver)
        other = [name for name in here | there if here.get(name) != there.get(name)]
        tally.count(f"by {kind}: {other}" if other else None)
    assert not tally.losses, tally.losses[:3]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository where all of it was run on this machine."""
    place = lay(tmp_path_factory.mktemp("alone") / "a clone", {})
    call(place, "./recast", "run")
    return place


def lay(place: Path, variables: Mapping[str, str], remote: remotes.Remote | None = None) -> Path:
    """A committed copy of this repository with the two recipes alone, and a remote if there is to be one."""
    copy_repository(place)
    for recipe in (place / "recipes").glob("*.yaml"):
        recipe.unlink()
    (place / "recipes/cnn.yaml").write_text(CNN)
    (place / "recipes/mlp.yaml").write_text(MLP)
    (place / "device.txt").write_text("cpu\n")
    if remote:
        remote.add(place)
    (place / "dvc.yaml").unlink()
    call(place, "./recast", "sync", **variables)
    commit(place, "these alone")
    return place
