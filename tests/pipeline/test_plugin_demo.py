"""A target of another package, from its wheel: built, installed beside Recast, run, and upgraded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recast.pipeline.core.layout import USER_FOLDER, environments_folder
from recast.pipeline.processes.uv import find_uv
from tests.lib.installed import uv
from tests.lib.repository import ROOT, call, commit, copy_repository, hashes

DEMO = ROOT / "examples" / "recast-target-demo"
RECIPE = """\
model: models.digits_cnn:DigitsCnn
stages:
  data: {dataset: digits, resize: 28, mean: 0.5, std: 0.5}
  train: {epochs: 3, batch_size: 64, lr: 2.0e-3}
targets: {onnxruntime: {verify: {min_agreement: 0.5}}, onnxtext: {}}
"""
OWN = {"tiny/onnxtext/emit", "tiny/onnxtext/verify"}
READ = {"tiny-onnxtext-emit", "tiny-onnxtext-verify", "tiny"}
"""what has another output when what is emitted has another size"""


def install(place: Path, source: Path) -> None:
    """Build the plugin's wheel and install it into the environment that Recast runs in."""
    for left_over in (source / "build", source / "dist"):
        shutil.rmtree(left_over, ignore_errors=True)
    uv("build", "--quiet", "--no-config", "--wheel", "--out-dir", source / "dist", source)
    (wheel,) = (source / "dist").glob("*.whl")
    uv("pip", "install", "--quiet", "--no-config", "--no-deps", "--reinstall", "--python", place / "bin/python", wheel)


def upgrade(place: Path, source: Path, version: str) -> None:
    """Install another version of the plugin, of which one file is another."""
    for name, old, new in (
        ("pyproject.toml", 'version = "', f'version = "{version}" # "'),
        ("recast_target_demo/emit.py", '\\n", encoding', '\\n\\n", encoding'),
    ):
        text = (source / name).read_text()
        assert old in text
        (source / name).write_text(text.replace(old, new, 1))
    install(place, source)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that Recast runs in, without a plugin."""
    made = tmp_path_factory.mktemp("installed")
    uv("venv", "--quiet", "--no-config", "--allow-existing", "--python", sys.executable, made)
    into = ("pip", "install", "--quiet", "--no-config", "--no-deps", "--python", made / "bin/python")
    uv(*into, "--requirements", ROOT / "envs/recast.txt")
    return made


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's own environment is built here, and not among those that are shared."""
    shared, own = environments_folder(), tmp_path / "home/envs"
    own.mkdir(parents=True)
    for built in shared.iterdir():
        (own / built.name).symlink_to(built)
    monkeypatch.setenv(USER_FOLDER, str(own.parent))


def project(root: Path, place: Path, recipe: str) -> Path:
    """A copy of this repository with that one recipe, run by Recast's environment at `place`."""
    root.mkdir()
    copy_repository(root)
    (root / ".venv").unlink()
    (root / ".venv").symlink_to(place)
    for other in (root / "recipes").glob("*.yaml"):
        other.unlink()
    (root / "recipes/tiny.yaml").write_text(recipe)
    return root


SHAPES = {
    "shapes/__init__.py": """\
from recast.stages.plugin import Plugin, VerbEntry
PLUGIN = Plugin(verbs={"count-shapes": VerbEntry("shapes.verb", "onnx", "count the samples of a recipe")})
""",
    "shapes/read.py": """\
import numpy as np
from recast.stages.trunk.sources import Source

def read(roots, scratch):
    y = np.arange(100) % 2
    x = np.zeros((100, 1, 4, 4), np.uint8)
    x[y == 1, 0, 1:3, 1:3] = 255
    return Source(x, y, None, None, ("none", "square"))
""",
    "shapes/verb.py": """\
from recast.stages.verb import Verb

def run(options, artifacts):
    import numpy as np
    print(options["split"], len(np.load(artifacts.directories["data"] / f"{options['split']}.npz")["y"]))

VERB = Verb(lambda parser: parser.add_argument("--split", default="test"), run, reads=("data",))
""",
    "shapes-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: shapes\nVersion: 0.1\n",
    "shapes-0.1.dist-info/entry_points.txt": "[recast.sources]\nsquares = shapes.read:read\n"
    "[recast.verbs]\ncount-shapes = shapes:PLUGIN\n",
}


@pytest.mark.slow
def test_a_plugins_dataset_is_read_and_its_verb_is_called(place: Path, tmp_path: Path) -> None:
    root = project(
        tmp_path / "repository", place, RECIPE.replace("digits, resize: 28", "squares").replace(", onnxtext: {}", "")
    )
    (site,) = place.glob("lib/python3*/site-packages")
    for name, text in SHAPES.items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text)
    try:
        assert "tiny/data" in ran(call(root, "./recast", "run", "tiny", "--stage", "data").stdout)
        assert json.loads((root / "artifacts/tiny/data/metrics.json").read_text())["dataset"] == "squares"
        assert call(root, "./recast", "count-shapes", "tiny/onnxruntime").stdout == "test 20\n"
        assert ran(call(root, "./recast", "run", "tiny", "--stage", "data").stdout) == set()
        (site / "shapes/read.py").write_text(SHAPES["shapes/read.py"].replace("100", "200"))
        assert ran(call(root, "./recast", "run", "tiny", "--stage", "data").stdout) == {"tiny/data"}
        assert call(root, "./recast", "count-shapes", "tiny/onnxruntime", "--split", "test").stdout == "test 40\n"
    finally:
        for name in ("shapes", "shapes-0.1.dist-info"):
            shutil.rmtree(site / name)


@pytest.mark.slow
def test_a_plugins_target_is_run_and_an_upgrade_re_runs_just_its_stages(place: Path, tmp_path: Path) -> None:
    assert len("".join(path.read_text() for path in sorted(DEMO.rglob("*.py"))).splitlines()) < 80
    source = tmp_path / "plugin"
    shutil.copytree(DEMO, source)
    install(place, source)
    root = project(tmp_path / "repository", place, RECIPE)
    dvc = str(place / "bin/dvc")

    said = call(root, "./recast", "run", "tiny").stdout
    assert "building the environment 'onnxtext'" in said and "wrote recast.lock" in said
    emitted = root / "artifacts/tiny/onnxtext/emit"
    assert "Conv" in (emitted / "model.onnx.txt").read_text()
    assert (root / "artifacts/tiny/onnxtext/verify/parity.json").exists()
    assert ran(said) > OWN
    assert ran(call(root, "./recast", "run", "tiny").stdout) == set()
    commit(root, "run")
    assert "tiny-" not in call(root, dvc, "status").stdout  # the guard alone is always to be run
    assert "Running stage 'tiny" not in call(root, dvc, "repro").stdout

    before = hashes(root)
    upgrade(place, source, "0.2.0")
    assert ran(call(root, "./recast", "run", "tiny").stdout) == OWN
    assert different(before, hashes(root)) == READ

    before = hashes(root)
    upgrade(place, source, "0.3.0")
    # a stage alone would be run with other code than its key says
    refused = call(root, "./recast", "stage", "tiny", "onnxtext/emit", check=False)
    said = "the code of 'tiny/onnxtext/emit' is another than when recast.lock was written"
    assert refused.returncode == 2
    assert f"{said} (recast-target-demo was 0.2.0 and is 0.3.0); run './recast sync'" in refused.stderr
    said = call(root, dvc, "repro").stdout
    assert "other code is installed than it said: stages.onnxtext.emit, stages.onnxtext.verify\n" in said
    assert [line for line in said.splitlines() if line.startswith("Running stage 'tiny")] == [
        "Running stage 'tiny-onnxtext-emit':",
        "Running stage 'tiny-onnxtext-verify':",
        "Running stage 'tiny':",
    ]
    assert different(before, hashes(root)) == READ
    assert ran(call(root, "./recast", "run", "tiny").stdout) == set()

    without = [find_uv(), "pip", "uninstall", "--quiet", "--no-config", "--python", place / "bin/python"]
    subprocess.run([*map(str, without), "recast-target-demo"], check=True)
    missing = call(root, "./recast", "run", "tiny", check=False)
    assert missing.returncode == 2 and missing.stderr.startswith(
        "recipes/tiny.yaml:5:56: the target 'onnxtext' is provided by the plugin recast-target-demo 0.3.0, which is "
        "not installed; install it beside Recast, for example with 'pip install recast-target-demo==0.3.0'\n"
    )


def ran(said: str) -> set[str]:
    """The stages of the plan that were run, by what `recast run` says outside a terminal."""
    return set(re.findall(r"(tiny/\S+): done in ", said))


def different(before: dict[str, object], after: dict[str, object]) -> set[str]:
    return {name for name in after if before.get(name) != after[name]}
