"""`recast doctor`: each thing that can be wrong is found, and said with how to mend it."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from recast.pipeline.cli.main import main
from recast.pipeline.core import layout
from recast.pipeline.core.version import version
from recast.pipeline.dvc import dvcfile
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.processes import package_lock
from recast.pipeline.project import doctor
from recast.pipeline.recipes.recipe import Recipes
from recast.pipeline.sharing.checks import Check, State
from recast.stages.registry import load
from tests.lib import small_dvc as small
from tests.lib.repository import ROOT, SOUND, git

FOUND = "/usr/bin/found"


def on_path(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Every program is on PATH but these."""
    real = shutil.which
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None if name in missing else real(name) or FOUND)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = small.lay(tmp_path / "a project")
    for name, text in SOUND.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    (place / "recast").unlink()
    dvcfile.write(place, make_plan(place))
    monkeypatch.chdir(place)
    monkeypatch.setenv("RECAST_HOME", str(tmp_path / "a home"))  # where nothing is built
    on_path(monkeypatch)
    monkeypatch.setattr(layout, "IS_INSTALLED", True)  # as where no clone of Recast is
    return place


def examined(place: Path) -> Mapping[str, Check]:
    return {check.name: check for check in doctor.examine(place)}


def test_a_sound_project_has_no_problem(project: Path) -> None:
    found = examined(project)
    assert [check for check in found.values() if check.state is State.PROBLEM] == []
    assert {"recast", "python", "git", "uv", "recipes", "command", "dvc", "disk", "environment akida"} <= set(found)
    assert version() in found["recast"].found and "(2.4 GB)" in found["environment akida"].found
    assert found["dvc.yaml"].found == "matches the recipes"


def test_the_recast_of_a_clone_runs_no_other_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "IS_INSTALLED", False)
    found = examined(project)["command"]
    assert found.state is State.PROBLEM and f"the clone {ROOT}" in found.found
    assert shlex.join(layout.INSTALL) in found.remedy and str(ROOT / "envs/recast.txt") in layout.INSTALL


def test_packages_that_are_asked_for_and_not_locked_are_found(project: Path) -> None:
    with (project / "params.yaml").open("a") as opened:
        opened.write("requirements: {torch: [einops]}\n")
    found = examined(project)["requirements"]
    assert found.state is State.PROBLEM and found.remedy == "run 'recast env lock'"
    (file, own), *_ = package_lock.asked(project).items()
    (project / file).parent.mkdir()
    (project / file).write_text(f"{own.head(project)}einops==0.8.1\n")
    after = examined(project)
    assert after["requirements"].state is State.OK and after["requirements"].found == f"locked in {file}"
    assert "1 package of recipes/locks/torch.txt" in after["environment torch+own"].found


def test_every_finding_that_is_not_ok_says_how_to_mend_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "dvc.yaml").unlink()
    git(project, "config", "--remove-section", "merge.recast-lock")
    on_path(monkeypatch, "recast", "dvc")
    found = examined(project)
    wrong = {name for name, check in found.items() if check.state is not State.OK}
    assert {"dvc.yaml", "command", "dvc", "merge driver"} <= wrong and found["command"].state is State.PROBLEM
    assert all(found[name].remedy for name in wrong)


def test_broken_recipes(project: Path) -> None:
    (project / "recipes/torn.yaml").write_text("modle: x\n")
    found = examined(project)["recipes"]
    assert (found.state, found.found) == (State.PROBLEM, "broken: torn") and "recast check" in found.remedy
    (project / "recipes/base.yaml").unlink()
    assert examined(project)["recipes"].found == "no recipe is sound; 1 problem"


def test_where_environments_lie(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(project)["environments"].found == f"kept in {tmp_path}/a home/envs"
    (project / ".recast/envs").mkdir(parents=True)
    assert "run 'recast env prune'" in examined(project)["old environments"].remedy
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: place != tmp_path)
    found = examined(project)["environments"]
    assert found.state is State.PROBLEM and "set RECAST_HOME" in found.remedy
    monkeypatch.setenv("RECAST_HOME", "relative")
    assert "no absolute path" in examined(project)["environments"].found


def test_too_little_disk(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(project)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage._replace(free=5 * 10**9))
    found = examined(project)["disk"]
    # torch 1.2, onnx 0.2 and akida 2.4 GB, and what results take
    assert found.state is State.PROBLEM and "5.0 GB free" in found.found and "6.0 GB wanted" in found.found


def test_a_program_that_a_param_makes_a_stage_call(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = project / "recipes/base.yaml"
    recipe.write_text(recipe.read_text() + "  wasm: {}\n")
    on_path(monkeypatch, "node")
    assert "program node" not in examined(project)
    recipe.write_text(recipe.read_text().replace("wasm: {}", "wasm: {verify: {runtimes: [wasmtime, node]}}"))
    found = examined(project)["program node"]
    assert (found.state, found.found) == (State.PROBLEM, "not found on PATH; wanted by base/wasm")
    on_path(monkeypatch)
    assert examined(project)["program node"].state is State.OK


def test_ezkls_verifier_needs_node(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = project / "recipes/base.yaml"
    recipe.write_text(recipe.read_text().replace("opset: 18", "opset: 12") + "  ezkl: {}\n")
    on_path(monkeypatch, "node", "npm")
    found = examined(project)
    assert found["program node"].state is found["program npm"].state is State.PROBLEM
    recipe.write_text(recipe.read_text().replace("ezkl: {}", "ezkl: {emit: {evm: false}}"))
    assert "program node" not in examined(project)


def test_every_program_in_the_head_of_a_stage_set_is_one_that_doctor_reads() -> None:
    """A misspelt stage, param or value would never be looked for."""
    recipes, read = Recipes(ROOT), []
    for target in recipes.known_targets():
        found = recipes.target(target)
        assert found
        for line in found.document.head:
            if line.startswith("program"):
                said = doctor.PROGRAM.fullmatch(line)
                assert said, f"{target}: {line}"
                field = load(found.uses[said["stage"]]).params.model_fields[said["param"]]
                assert field.annotation is bool or said["value"] in str(field.annotation), line
                read.append(said["program"])
    assert set(read) == {"node", "npm"}


def test_without_a_project_the_machine_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--json"])
    assert left.value.code == 1
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["project"]["state"] == found["git"]["state"] == "problem" and found["python"]["state"] == "ok"
    assert "recast init" in found["project"]["remedy"]
