"""Packages that models need besides Recast's: asked for in params.yaml or a recipe, and locked, or one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.dvc.dvcfile import dvc_document
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.partial_plan import make_sound_plan
from recast.pipeline.processes.package_lock import asked
from tests.lib.repository import SOUND, Write

PINS = {"envs/torch.txt": "# python: 3.11\ntorch==2\n"}
PARAMS = SOUND["params.yaml"]
OTHER = "extends: base\nrequirements: {torch: [timm]}\n"


def locked(place: Path, *but: str) -> Path:
    """Write what `recast env lock` would, as far as it is looked at."""
    for file, own in asked(place).items():
        if file not in but:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_text(f"{own.head(place)}some==1\n")
    return place


def reading(place: Path) -> Mapping[str, set[str]]:
    """Lock -> the stages in dvc.yaml that depend on it."""
    found: dict[str, set[str]] = {}
    for name, entry in dvc_document(make_plan(place))["stages"].items():
        for dep in entry.get("deps", ()):
            if dep.startswith("recipes/locks/"):
                found.setdefault(dep, set()).add(name)
    return found


def said_of(place: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        make_plan(place)
    return str(caught.value)


def test_just_the_stages_that_import_the_model_depend_on_the_lock(write: Write) -> None:
    place = write({**PINS, "params.yaml": f"requirements: {{torch: [einops]}}\n{PARAMS}"})
    locked(place)
    assert reading(place) == {"recipes/locks/torch.txt": {"base-train", "base-export"}}
    stages = make_plan(place).stages
    assert {stage.name for stage in stages.values() if stage.environment == "torch+own"} == {"train", "export"}


def test_a_recipe_may_ask_for_others_and_has_then_stages_of_its_own(write: Write) -> None:
    params = f"requirements: {{torch: [einops]}}\n{PARAMS}"
    place = locked(write({**PINS, "params.yaml": params, "recipes/other.yaml": OTHER}))
    assert reading(place) == {
        "recipes/locks/torch.txt": {"base-train", "base-export"},
        "recipes/locks/torch.other.txt": {"other-train", "other-export"},
    }
    assert "other/data" not in make_plan(place).stages, "it is the other recipe's own"
    # none at all, though others have some
    (place / "recipes/other.yaml").write_text("extends: base\nrequirements: {torch: []}\n")
    assert reading(place) == {"recipes/locks/torch.txt": {"base-train", "base-export"}}
    # as it is inherited
    (place / "recipes/other.yaml").write_text("extends: base\nrequirements: {}\n")
    assert "other/train" not in make_plan(place).stages


def test_what_is_not_locked_as_it_is_asked_for_is_an_error(write: Write) -> None:
    place = write({**PINS, "params.yaml": f"requirements:\n  torch: [einops]\n{PARAMS}"})
    lock = place / "recipes/locks/torch.txt"
    begin, end = "params.yaml:2:3: ", "; run 'recast env lock'"
    assert (
        said_of(place) == f"{begin}the requirements of 'torch' are not locked: there is no recipes/locks/torch.txt{end}"
    )
    locked(place)
    make_plan(place)
    lock.write_text(lock.read_text().replace("einops", "einops>=0.8"))
    edited = "the requirements of 'torch' were edited since recipes/locks/torch.txt was written"
    assert said_of(place) == f"{begin}{edited}{end}"
    locked(place)
    (place / "envs/torch.txt").write_text("# python: 3.11\n# preload: x\ntorch==2\n")
    make_plan(place)  # no other packages
    (place / "envs/torch.txt").write_text("# python: 3.11\ntorch==3\n")
    other = "recipes/locks/torch.txt was written beside other packages of 'torch' than there are now"
    assert said_of(place) == f"{begin}{other}{end}"
    for line in ("--index-url=https://e.org", "-r more.txt", "x @ file:///x", "a>=1", "torch==2"):
        locked(place)
        lock.write_text(f"{lock.read_text()}{line}\n")
        assert f"recipes/locks/torch.txt was edited by hand: '{line}' may not stand there" in said_of(place)
    lock.unlink()
    lock.mkdir()
    assert "recipes/locks/torch.txt cannot be read" in said_of(place)


def test_a_recipe_whose_packages_are_not_locked_keeps_no_other_from_running(write: Write) -> None:
    place = write({**PINS, "recipes/other.yaml": OTHER})
    plan = make_sound_plan(place, ["base"])
    assert plan.broken == ("other",) and "recipes/other.yaml:2:16: the requirements" in str(plan.problems[0])


def test_how_a_requirement_is_written_does_not_matter(write: Write) -> None:
    place = locked(write({**PINS, "params.yaml": f"requirements: {{torch: ['timm == 1', einops]}}\n{PARAMS}"}))
    (place / "params.yaml").write_text(f"requirements: {{torch: [einops, timm==1]}}\n{PARAMS}")
    make_plan(place)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("[einops]", "'requirements' must be a mapping"),
        ("{onnx: [einops]}", "no stage that imports a model runs in 'onnx'"),
        ("{troch: [einops]}", "no stage that imports a model runs in 'troch'; did you mean 'torch'?"),
        ("{torch: einops}", "the requirements of 'torch' must be a list, not text 'einops'"),
        ("{torch: [einops==]}", "'einops==' is no requirement"),
        ("{torch: ['-r other.txt']}", "'-r other.txt' is no requirement"),
        ("{torch: ['--index-url=x']}", "'--index-url=x' is no requirement"),
        ("{torch: [../evil]}", "'../evil' is no requirement"),
        ("{torch: ['x @ file:///tmp/x']}", "'x @ file:///tmp/x' names a place, which nothing pins"),
        ("{torch: ['x @ git+https://e.org/x']}", "names a place, which nothing pins"),
        ("{torch: [3]}", "a requirement is text, not"),
        ("{torch: [My_Pkg, my-pkg==1]}", "'my-pkg' is asked for twice"),
    ],
)
@pytest.mark.parametrize("file", ["params.yaml", "recipes/base.yaml"])
def test_what_is_no_requirement_is_one_error_with_its_place(said: str, message: str, file: str, write: Write) -> None:
    found = said_of(write({**PINS, file: f"{SOUND[file]}requirements: {said}\n"}))
    lines = len(SOUND[file].splitlines()) + 1
    assert found.startswith(f"{file}:{lines}:") and message in found and "\n" not in found


@pytest.mark.parametrize("said", ["timm", "[3]", "['a b']", "[a..b]", "[__main__]", "{a: b}"])
def test_packages_that_models_may_be_named_of_are_names(said: str, write: Write) -> None:
    found = said_of(write({"params.yaml": f"model_packages: {said}\n{PARAMS}"}))
    assert found.startswith("params.yaml:1:1: 'model_packages' must be a list of packages")


def test_a_model_of_a_package_of_ones_own_is_named_once_the_project_says_so(write: Write) -> None:
    files = {**PINS, "recipes/base.yaml": SOUND["recipes/base.yaml"].replace("models.net:Net", "timm.models:resnet18")}
    assert "'timm.models' is no module of this repository" in said_of(write(files))
    place = write({**files, "params.yaml": f"model_packages: [timm.models]\n{PARAMS}"})
    train = make_plan(place).stages["base/train"]
    assert train.project.model_packages == ("timm.models",) and ("params.yaml", "model_packages") in train.tracked
