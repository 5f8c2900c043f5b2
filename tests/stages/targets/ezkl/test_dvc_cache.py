# environment: ezkl
"""A recipe run in a repository of its own: what a team shares holds no input, witness, proof or proving key."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.lib.copied import ROOT, copy_files
from tests.lib.onnx_models import images

RECIPE = """\
model: {name: "models.tiny_mlp:TinyMlp", args: {classes: 4}}
stages:
  data: {dataset: npz, path: quadrants.npz, resize: 14}
  train: {epochs: 3, batch_size: 16, lr: 0.02, resources: {cpu: 1}}
  export: {opset: 12}
  simplify: {}
targets:
  ezkl:
    emit: {insecure_srs: true, evm: false}
    verify: {samples: 10}
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository with one small recipe, which has been run."""
    place = tmp_path_factory.mktemp("repository")
    copy_files(place)
    for recipe in place.glob("recipes/*.yaml"):
        recipe.unlink()
    (place / ".venv").symlink_to(ROOT / ".venv")
    x, y = images(400, seed=1)
    np.savez(place / "quadrants.npz", x=x, y=y)
    (place / "recipes/small.yaml").write_text(RECIPE)
    call(place, "git", "init", "--quiet")
    call(place, "./recast", "run", "small", "--jobs", "1")
    return place


def call(place: Path, *command: str) -> str:
    # the environment's own pytest must not be seen by another Python
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables["DVC_NO_ANALYTICS"] = "1"
    done = subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_neither_cache_nor_artifacts_hold_what_is_private(repository: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(7).integers(0, 256, (1, 14, 14), dtype=np.uint8)
    np.savez(tmp_path / "private.npz", x=image)
    proof = tmp_path / "proof.json"
    call(repository, "./recast", "prove", "small/ezkl", str(tmp_path / "private.npz"), "-o", str(proof))
    assert "the proof holds: class " in call(repository, "./recast", "check-proof", "small/ezkl", str(proof))
    # verify has proved the first test sample, which is in the dataset; its witness must not be
    stored = np.load(repository / "artifacts/small/data/test.npz")["x"][0]
    settings = json.loads((repository / "artifacts/small/ezkl/emit/settings.json").read_text())
    scale = 2 ** settings["run_args"]["input_scale"]

    def witness_of(sample: np.ndarray) -> bytes:
        felts = [round(float(value) / 255 * scale).to_bytes(32, "little").hex() for value in sample.flat[:3]]
        return '"'.join(felts).encode()

    witnesses = [witness_of(sample).replace(b'"', joint) for sample in (image, stored) for joint in (b'","', b'", "')]
    secrets = [image.tobytes()[:24], *witnesses, proof.read_bytes()[200:400]]
    shared = files(repository / ".dvc/cache") | files(repository / "artifacts")
    assert len(shared) > 40
    local = files(repository / ".recast/local")
    for path, content in (shared | local).items():
        assert not any(secret in content for secret in secrets), path
        # EZKL's own names, in its input, its witness and its proof
        assert b'"hex_proof"' not in content and b'"pretty_elements"' not in content, path
        assert b'"input_data"' not in content, path
    # the proving key is known to lie here, and is not shared
    (key,) = [content for path, content in local.items() if path.name == "pk.key"]
    assert key not in shared.values()
    assert b'"instances"' in proof.read_bytes()


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
