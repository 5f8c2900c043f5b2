"""`recast new`: the recipe it writes is what was asked for, and sound; otherwise nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recast.pipeline.cli.main import main
from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.project.new_recipe import Request, create
from tests.lib.repository import Write

TARGETS = ("onnxruntime",)


def text(root: Path, name: str) -> str:
    return (root / f"recipes/{name}.yaml").read_text()


def make(root: Path, **said: Any) -> Path:
    create(root, Request("fresh", **said))
    # the file itself is as sound as the draft was
    assert make_plan(root, ["fresh"]).recipes["fresh"]
    return root


def params(root: Path, stage: str) -> Any:
    return make_plan(root, ["fresh"]).find("fresh", stage).params


def test_a_model(write: Write) -> None:
    root = make(write({}), model="models.net:Net", targets=("onnxruntime", "akida"))
    assert make_plan(root, ["fresh"]).recipes["fresh"].targets.keys() == {"onnxruntime", "akida"}
    assert params(root, "data")["dataset"] == "digits" and params(root, "train")["model"]["name"] == "models.net:Net"
    assert "\n# recast run fresh\nmodel: models.net:Net\n\nstages:\n" in text(root, "fresh")


def test_weights_take_the_place_of_training(write: Write) -> None:
    root = make(
        write({"weights/a.safetensors": "x"}), model="models.net:Net", weights="weights/a.safetensors", targets=TARGETS
    )
    assert params(root, "train")["weights"] == "weights/a.safetensors" and "epochs" not in text(root, "fresh")


def test_an_onnx_file_alone_is_compared_on_inputs_that_are_drawn(write: Write) -> None:
    root = write({"models/net.onnx": "x"})
    make(root, onnx="models/net.onnx", targets=TARGETS)
    (trunk,) = [recipe.trunk for name, recipe in make_plan(root, ["fresh"]).recipes.items() if name == "fresh"]
    assert list(trunk) == ["inputs", "import", "simplify"]
    assert params(root, "inputs")["onnx"] == "models/net.onnx" and params(root, "inputs")["task"]["name"] == "none"


def test_an_onnx_file_and_data_of_ones_own(write: Write) -> None:
    root = write({"my models/a # b.onnx": "x", "data/points.npz": "x"})
    make(root, onnx="my models/a # b.onnx", data="data/points.npz", targets=TARGETS)
    assert params(root, "import")["path"] == "my models/a # b.onnx"
    assert params(root, "data") | {"dataset": "npz", "path": "data/points.npz"} == params(root, "data")


def test_a_folder_of_images(write: Write) -> None:
    root = make(write({"pictures/cat/1.png": "x"}), model="models.net:Net", data="pictures", targets=TARGETS)
    assert params(root, "data")["dataset"] == "image_folder" and params(root, "data")["path"] == "pictures"


def test_another_recipe_is_extended(write: Write) -> None:
    root = make(write({}), base="base")
    assert text(root, "fresh").splitlines()[1:] == ["# recast run fresh", "extends: base"]
    assert make_plan(root, ["fresh"]).recipes["fresh"].targets.keys() == {"onnxruntime", "akida"}


def test_of_another_recipes_targets_only_those_named_are_kept(write: Write) -> None:
    root = make(write({}), base="base", targets=("onnxruntime", "wasm"))
    assert make_plan(root, ["fresh"]).recipes["fresh"].targets.keys() == {"onnxruntime", "wasm"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"targets": TARGETS}, "needs a model; add --model MODULE:CLASS, --onnx FILE or --from RECIPE"),
        ({"model": "models.net:Net"}, "needs a target; add --target, of akida, c, cairo"),
        ({"onnx": "a.onnx", "model": "models.net:Net", "targets": TARGETS}, "--onnx is a model by itself"),
        ({"base": "bass"}, "no recipe named 'bass' in recipes/; did you mean 'base'?"),
        ({"base": "base", "targets": ("onxruntime",)}, "no target named 'onxruntime'.*did you mean 'onnxruntime'?"),
        ({"model": "models.nett:Net", "targets": TARGETS}, "was not written, since it would not be sound:\n  .*nett"),
        ({"model": "models.net:Net", "data": "none.npz", "targets": TARGETS}, "would not be sound:\n  .*none.npz"),
        ({"model": "a\n: [", "targets": TARGETS}, "would not be sound:\n"),
    ],
)
def test_what_would_not_be_sound_is_not_written(said: dict[str, Any], message: str, write: Write) -> None:
    root = write({})
    with pytest.raises(RecastError, match=message):
        create(root, Request("fresh", **said))
    assert sorted(path.name for path in (root / "recipes").iterdir()) == ["base.yaml", "targets"]


@pytest.mark.parametrize("there", ["fresh.yaml", "fresh.yml"])
def test_a_recipe_that_is_there_is_not_overwritten(there: str, write: Write) -> None:
    root = write({f"recipes/{there}": "theirs\n"})
    with pytest.raises(RecastError, match=f"recipes/{there} is there already; choose another name"):
        create(root, Request("fresh", model="models.net:Net", targets=TARGETS))
    assert (root / "recipes" / there).read_text() == "theirs\n"


def test_a_name_that_is_no_recipes(write: Write) -> None:
    for name in ("../fresh", "my-net", "1st"):
        with pytest.raises(RecastError, match=r"is no recipe name; use letters, digits and _"):
            create(write({}), Request(name, base="base"))


def test_on_the_command_line_paths_are_those_of_the_current_folder(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write({"data/points.npz": "x"})
    common = ["new", "fresh", "--model", "models.net:Net", "--target", "onnxruntime", "--data"]
    for data, code in (("../../points.npz", 2), ("points.npz", 0), ("points.npz", 2)):
        monkeypatch.chdir(root / "data")
        with pytest.raises(SystemExit) as left:
            main([*common, data])
        assert (left.value.code or 0) == code
    said = capsys.readouterr()
    assert "path: data/points.npz" in text(root, "fresh")
    assert "recipes/fresh.yaml: sound; 8 stages; targets: onnxruntime\nwrote recipes/fresh.yaml" in said.out
    assert "../../points.npz lies outside the project" in said.err and "is there already" in said.err
