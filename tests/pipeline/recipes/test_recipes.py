"""The repository's own recipes, run from training to the verified artifact by the real tools."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from ruamel.yaml import YAML

from recast.pipeline.dvc import dvcfile
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.processes import environments
from recast.pipeline.processes.stage_call import data_roots
from tests.lib.repository import ROOT, call, copy_repository, hashes

# fewer images and epochs than the recipe: CI proves the way, the recipe's own figures are in the docs
QUICK_MNIST = """\
# yaml-language-server: $schema=schema.json
extends: mnist_akida
stages:
  data: {train_samples: 12000}
  train: {epochs: 3, lr: 1.0e-3}
targets:
  akida:
    verify: {min_accuracy: 0.96, min_agreement: 0.99}
"""

SERVED = ("akida", "onnxruntime", "wasm")


def copy(place: Path) -> Path:
    place.mkdir(parents=True)
    copy_repository(place)
    return place


def metrics(repository: Path, stage: str) -> dict[str, float]:
    read: dict[str, float] = json.loads((repository / "artifacts" / stage / "metrics.json").read_text())
    return read


def test_every_recipe_says_how_it_is_run():
    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        assert f"# recast run {path.stem}" in path.read_text(encoding="utf-8")


def test_every_recipe_and_target_is_planned():
    plan = make_plan(ROOT)
    used = {target for recipe in plan.recipes.values() for target in recipe.targets}
    assert used == {path.stem for path in (ROOT / "recipes/targets").glob("*.yaml")}


def test_dvc_tracks_the_sources_of_stages_and_no_param_says_where_they_are():
    plan = make_plan(ROOT)
    stages = [stage for stage in plan.stages.values() if stage.stage.sources]
    for stage in stages:
        folders = {source.path.relative_to(ROOT).as_posix() for source in stage.stage.sources}
        assert folders <= set(dvcfile.stage_entry(plan, stage)["deps"])
        assert not folders.intersection(value for value in stage.params.values() if isinstance(value, str))
    sources = {source.name: source.path for stage in stages for source in stage.stage.sources}
    assert sources.keys() >= {"clients", "kernels", "stand_in", "vm"}
    files = {path.suffix for folder in sources.values() for path in folder.iterdir()}
    assert files >= {".c", ".h", ".zig", ".js"}


def test_what_python_leaves_among_the_sources_is_no_part_of_them():
    """Clients are sources and modules: whoever imports one would make emit run again."""
    left = "stages/targets/wasm/clients/__pycache__/model.cpython-311.pyc"
    asked = [ROOT / ".venv/bin/dvc", "check-ignore", left, "stages/targets/wasm/clients/model.py"]
    assert subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout.splitlines() == [left]


@pytest.mark.slow
def test_digits_in_two_clones_gives_the_same_bytes_for_every_artifact(tmp_path):
    one, two = copy(tmp_path / "one"), copy(tmp_path / "another place" / "two")
    shown = call(one, "./recast", "run", "digits").stdout
    for target, file in (("akida", "model.fbz"), ("onnxruntime", "model.onnx")):
        measured = metrics(one, f"digits/{target}/verify")
        assert measured["accuracy_float"] > 0.96 and measured["accuracy_emitted"] > 0.96
        assert measured["agreement"] > 0.98 and measured["samples"] > 300
        assert f"artifacts/digits/{target}/emit/{file}" in shown
        assert (one / f"artifacts/digits/{target}/emit/{file}").stat().st_size == measured["size_bytes"]
    call(two, ".venv/bin/dvc", "repro", "digits")
    assert hashes(one) == hashes(two)
    for place in (one, two):
        assert "up to date" in call(place, ".venv/bin/dvc", "status", "--with-deps", "digits").stdout
    for target in SERVED:
        assert served_accuracy(one, f"digits/{target}", 40) > 0.9


def served_accuracy(repository: Path, what: str, samples: int) -> float:
    """Of the first test samples, as stored, how many `recast serve` gives their own class."""
    x, y = (read_npy(repository / "artifacts/digits/data/test.npz", name, samples) for name in "xy")
    service = subprocess.Popen(["./recast", "serve", what, "--port", "0"], cwd=repository, stdout=subprocess.PIPE)
    try:
        assert service.stdout
        said = service.stdout.readline().decode()
        assert f"{what} answers on http://127.0.0.1:" in said
        body = json.dumps({"input": x, "values": "stored"}).encode()
        request = Request(said.split()[3] + "/predict", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            scores = json.load(answer)["output"]
    finally:
        service.terminate()
        service.wait()
    assert [len(row) for row in scores] == [10] * samples
    return sum(row.index(max(row)) == label for row, label in zip(scores, y, strict=True)) / samples


def read_npy(path: Path, name: str, count: int) -> Any:
    """The first entries of an array in an npz, as lists: NumPy is in the environments only."""
    code = "import sys, json, numpy; a = numpy.load(sys.argv[1])[sys.argv[2]]; "
    code += "print(json.dumps(a[:int(sys.argv[3])].tolist()))"
    python = environments.find(ROOT, "onnx").python
    done = subprocess.run([python, "-c", code, path, name, str(count)], capture_output=True, check=True)
    return json.loads(done.stdout)


def copy_with_mnist(place: Path) -> Path:
    """A copy that reads MNIST where this repository does; skips the test if it is nowhere."""
    roots = [root for root in data_roots(ROOT) if (root / "MNIST" / "raw").is_dir()]
    if not roots:
        pytest.skip("MNIST lies in no data_root, and tests download nothing")
    copy(place)
    defaults = YAML(typ="safe").load((place / "params.yaml").read_text())
    defaults["data_root"] = [str(root) for root in roots]
    YAML().dump(defaults, place / "params.yaml")
    return place


@pytest.mark.slow
def test_real_mnist_reaches_akida(tmp_path):
    place = copy_with_mnist(tmp_path / "mnist")
    (place / "recipes/mnist_quick.yaml").write_text(QUICK_MNIST)
    call(place, "./recast", "run", "mnist_quick")
    measured = metrics(place, "mnist_quick/akida/verify")
    assert measured["samples"] == 10_000 and measured["accuracy_emitted"] > 0.96
    mapping = json.loads((place / "artifacts/mnist_quick/akida/emit/mapping.json").read_text())
    software = [layer for layer in mapping["layers"] if layer["runs_in"] == "software"]
    assert software and all(layer["reason"] for layer in software)


@pytest.mark.slow
def test_the_ezkl_recipes_prove_what_their_networks_say(tmp_path):
    place = copy_with_mnist(tmp_path / "ezkl")
    call(place, "./recast", "run", "mnist_mlp_ezkl", "lenet_ezkl")
    for recipe, float_accuracy in (("mnist_mlp_ezkl", 0.9), ("lenet_ezkl", 0.985)):
        assert metrics(place, f"{recipe}/train")["accuracy"] >= float_accuracy
        measured = metrics(place, f"{recipe}/ezkl/verify")
        assert measured["samples"] == 100 and measured["agreement"] >= 0.99 and measured["max_abs_error"] <= 0.15
        assert measured["forgeries_rejected"] == measured["evm_forgeries_rejected"] == 5
        # as the data stage stores it
        image = place / "image.json"
        image.write_text(json.dumps(read_npy(place / f"artifacts/{recipe}/data/test.npz", "x", 1)[0]))
        call(place, "./recast", "prove", f"{recipe}/ezkl", "image.json", "-o", "proof.json")
        said = call(place, "./recast", "check-proof", f"{recipe}/ezkl", "proof.json").stdout
        label = read_npy(place / f"artifacts/{recipe}/data/test.npz", "y", 1)[0]
        assert f"the proof holds: class {label}" in said
    assert metrics(place, "mnist_mlp_ezkl/ezkl/verify")["evm_deployable"] is True
    # the chosen shape is what makes LeNet's proof cheap
    chosen = metrics(place, "lenet_ezkl/ezkl/calibrate")
    assert chosen["convolutions"] == "products" and chosen["input_scale"] == 0
    assert chosen["predicted_memory_bytes"] < 1.5 * 2**30
    status = call(place, ".venv/bin/dvc", "status", "--with-deps", "mnist_mlp_ezkl", "lenet_ezkl").stdout
    assert "up to date" in status
