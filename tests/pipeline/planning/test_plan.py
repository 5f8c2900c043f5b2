"""Sharing by reference, private branches, value resolution, and what a stage depends on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.make_plan import make_plan
from tests.lib.repository import ROOT


def test_the_trunk_is_shared_by_every_target(write):
    plan = make_plan(write({}))
    recipe = plan.recipes["base"]
    assert list(recipe.trunk) == ["data", "train", "export", "simplify"]
    assert plan.stages["base/akida/verify"].inputs["simplify"] == "base/simplify"
    assert plan.stages["base/onnxruntime/verify"].inputs["simplify"] == "base/simplify"
    assert plan.stages["base/train"].out == "artifacts/base/train"
    assert plan.stages["base/akida/emit"].out == "artifacts/base/akida/emit"


def test_stages_come_in_an_order_that_runs(write):
    plan = make_plan(write({}))
    seen = set()
    for id, stage in plan.stages.items():
        assert set(stage.inputs.values()) <= seen, id
        seen.add(id)


def test_a_recipe_that_overrides_nothing_is_its_base(write):
    plan = make_plan(write({"recipes/same.yaml": "extends: base\n"}))
    assert plan.recipes["same"].ids == plan.recipes["base"].ids
    assert not any(id.startswith("same/") for id in plan.stages)


def test_an_empty_mapping_overrides_nothing(write):
    plan = make_plan(write({"recipes/same.yaml": "extends: base\nstages:\n  train: {}\n"}))
    assert plan.recipes["same"].ids == plan.recipes["base"].ids


def test_an_override_owns_the_stage_and_all_that_reads_it(write):
    plan = make_plan(write({"recipes/mine.yaml": "extends: base\nstages:\n  export: {opset: 17}\n"}))
    trunk = plan.recipes["mine"].trunk
    assert trunk["data"] == "base/data" and trunk["train"] == "base/train"
    assert trunk["export"] == "mine/export" and trunk["simplify"] == "mine/simplify"
    assert plan.recipes["mine"].targets["akida"]["verify"] == "mine/akida/verify"
    assert plan.stages["mine/export"].inputs == {"data": "base/data", "train": "base/train"}
    assert plan.stages["mine/export"].params["opset"] == 17
    assert plan.stages["base/export"].params["opset"] == 18


def test_an_override_of_a_target_leaves_the_trunk_and_the_other_target_shared(write):
    mine = "extends: base\ntargets:\n  akida:\n    calibrate: {samples: 32}\n"
    recipe = make_plan(write({"recipes/mine.yaml": mine})).recipes["mine"]
    assert recipe.targets["akida"]["quantize"] == "base/akida/quantize"
    assert recipe.targets["akida"]["calibrate"] == "mine/akida/calibrate"
    assert recipe.targets["akida"]["verify"] == "mine/akida/verify"
    assert recipe.targets["onnxruntime"]["verify"] == "base/onnxruntime/verify"


def test_a_target_that_overrides_the_trunk_gets_its_own_branch(write):
    base = "model: models.net:Net\nstages:\n  data: {dataset: digits}\ntargets:\n  akida: {}\n"
    plan = make_plan(write({"recipes/base.yaml": base + "  onnxruntime:\n    export: {opset: 13}\n"}))
    recipe = plan.recipes["base"]
    assert recipe.trunk["export"] == "base/export"
    assert recipe.targets["onnxruntime"]["export"] == "base/onnxruntime/export"
    assert recipe.targets["onnxruntime"]["simplify"] == "base/onnxruntime/simplify"
    assert plan.stages["base/onnxruntime/verify"].inputs["simplify"] == "base/onnxruntime/simplify"
    assert plan.stages["base/onnxruntime/export"].inputs["train"] == "base/train"
    assert plan.stages["base/akida/verify"].inputs["simplify"] == "base/simplify"
    assert plan.stages["base/onnxruntime/export"].params["opset"] == 13


def test_a_trunk_stage_that_every_target_has_its_own_branch_of_is_left_out(write):
    mine = "extends: base\ntargets:\n  akida: false\n  onnxruntime:\n    export: {opset: 17}\n"
    plan = make_plan(write({"recipes/mine.yaml": mine}), ["mine"])
    assert dict(plan.recipes["mine"].trunk) == {"data": "base/data", "train": "base/train"}
    assert "base/export" not in plan.stages and "mine/onnxruntime/export" in plan.stages


def test_another_model_means_another_training_of_the_same_data(write):
    files = {"recipes/wide.yaml": "extends: base\nmodel: models.layers:Block\n"}
    trunk = make_plan(write(files)).recipes["wide"].trunk
    assert trunk["data"] == "base/data"
    assert trunk["train"] == "wide/train" and trunk["export"] == "wide/export"


def test_import_stands_in_for_train_and_export(write):
    files = {
        "recipes/onnx.yaml": "stages:\n  data: {dataset: digits}\n  import: {path: m.onnx}\ntargets: {akida: {}}\n"
    }
    plan = make_plan(write({**files, "m.onnx": "x"}))
    assert list(plan.recipes["onnx"].trunk) == ["data", "import", "simplify"]
    assert plan.stages["onnx/simplify"].inputs == {"export": "onnx/import"}
    assert plan.stages["onnx/import"].files == {"path": "m.onnx"}


def test_an_inherited_target_can_be_dropped(write):
    plan = make_plan(write({"recipes/mine.yaml": "extends: base\ntargets:\n  akida: false\n"}))
    assert list(plan.recipes["mine"].targets) == ["onnxruntime"]


def test_values_resolve_from_the_weakest_to_the_strongest(write):
    """Python default < params.yaml < target file < base recipe < recipe < target override."""
    place = write({})

    def opset(target: str | None) -> int:
        recipe = make_plan(place, ["mine"]).recipes["mine"]
        id = recipe.trunk["export"] if target is None else recipe.targets[target]["export"]
        return int(make_plan(place, ["mine"]).stages[id].params["opset"])

    base = (
        "model: models.net:Net\nstages:\n  data: {dataset: digits}\n  export: {%s}\n"
        "targets:\n  onnxruntime: {}\n  akida: {%s}\n"
    )
    mine = "extends: base\nstages:\n  export: {%s}\ntargets:\n  akida: {%s}\n"
    (place / "recipes/base.yaml").write_text(base % ("", ""))
    (place / "recipes/mine.yaml").write_text(mine % ("", ""))
    assert opset(None) == 18  # the stage's own default
    (place / "params.yaml").write_text("stages:\n  export: {opset: 11}\n")
    assert opset(None) == 11
    (place / "recipes/base.yaml").write_text(base % ("opset: 13", ""))
    assert opset(None) == 13
    (place / "recipes/mine.yaml").write_text(mine % ("opset: 14", ""))
    assert opset(None) == 14
    targets = place / "recipes/targets/akida.yaml"
    targets.write_text(targets.read_text() + "  export: {opset: 15}\n")
    assert opset("akida") == 15 and opset(None) == 14
    (place / "recipes/base.yaml").write_text(base % ("opset: 13", "export: {opset: 16}"))
    assert opset("akida") == 16
    (place / "recipes/mine.yaml").write_text(mine % ("opset: 14", "export: {opset: 17}"))
    assert opset("akida") == 17 and opset(None) == 14


def test_a_stage_tracks_every_mapping_that_feeds_it_even_an_empty_one(write):
    plan = make_plan(write({"recipes/mine.yaml": "extends: base\nstages:\n  train: {epochs: 9}\n  export: {}\n"}))
    expected = {
        ("params.yaml", "stages.train"),
        ("recipes/base.yaml", "stages.train"),
        ("recipes/mine.yaml", "stages.train"),
        ("recipes/base.yaml", "model"),
    }
    assert set(plan.stages["mine/train"].tracked) == expected
    assert ("recipes/mine.yaml", "stages.export") in plan.stages["mine/export"].tracked


def test_a_stage_depends_on_its_code_its_pins_and_its_models_imports(write):
    place = write({"models/net.py": "def make():\n    from models import layers\nclass Net: ...\n"})
    code = make_plan(place).stages["base/train"].code
    assert {"envs/torch.txt", "models/__init__.py", "models/net.py", "models/layers.py"} <= set(code)
    assert not any(file.startswith("models/") for file in make_plan(place).stages["base/simplify"].code)


def test_a_file_known_to_dvc_may_be_absent(write):
    recipe = "extends: base\nstages:\n  train: {weights: w.safetensors}\n"
    plan = make_plan(write({"recipes/mine.yaml": recipe, "w.safetensors.dvc": "outs: []\n"}))
    assert plan.stages["mine/train"].files == {"weights": "w.safetensors"}


def test_an_output_of_a_stage_of_the_users_own_may_be_absent(write):
    own = "stages:\n  make:\n    cmd: make\n    wdir: ../made\n    outs: [weights: {persist: true}]\n"
    recipe = "extends: base\nstages:\n  train: {weights: %s}\n"
    files = {"recipes/mine.yaml": recipe % "made/weights/w.safetensors", "made/dvc.yaml": own}
    assert make_plan(write(files)).stages["mine/train"].files == {"weights": "made/weights/w.safetensors"}
    files["recipes/mine.yaml"] = recipe % "made/other.safetensors"
    with pytest.raises(RecastError, match=r"no such file or folder in the repository: 'made/other.safetensors'"):
        make_plan(write(files))
    files = {"dvc.yaml": "stages:\n  make: {cmd: make, outs: [w.safetensors]}\n"}
    files["recipes/mine.yaml"] = recipe % "w.safetensors"
    assert make_plan(write(files)).stages["mine/train"].files == {"weights": "w.safetensors"}


def test_what_a_recipe_makes_is_no_file_that_another_may_name(write):
    out = "artifacts/base/train"
    listed = f"stages:\n  base-train: {{cmd: ./recast stage base train, outs: [{out}]}}\n"
    recipe = f"extends: base\nstages:\n  train: {{weights: {out}/model.safetensors}}\n"
    with pytest.raises(RecastError, match=r"no such file or folder in the repository"):
        make_plan(write({"dvc.yaml": listed, "recipes/mine.yaml": recipe}))


def test_a_recipe_asks_for_isolated_processes_and_one_that_extends_it_may_say_no(write):
    own = "extends: {}\nstages:\n  train: {{lr: {}}}\n"
    files = {
        "recipes/apart.yaml": "isolated: true\n" + own.format("base", 0.5),
        "recipes/same.yaml": own.format("apart", 0.25),
        "recipes/warm.yaml": "isolated: false\n" + own.format("apart", 0.125),
    }
    stages = make_plan(write(files)).stages
    found = {name: stages[f"{name}/train"].isolated for name in ("base", "apart", "same", "warm")}
    assert found == {"base": False, "apart": True, "same": True, "warm": False}


def test_a_stage_is_found_by_the_name_its_recipe_calls_it(write):
    plan = make_plan(write({"recipes/same.yaml": "extends: base\n"}))
    assert plan.find("same", "akida/emit").id == "base/akida/emit"
    with pytest.raises(RecastError, match=r"no stage 'trian'; did you mean 'train'\?"):
        plan.find("base", "trian")
    with pytest.raises(RecastError, match=r"no target 'akita'; did you mean 'akida'\?"):
        plan.find("base", "akita/emit")
    with pytest.raises(RecastError, match=r"'base/akida' is a target and no stage; it has: akida/quantize, akida/cal"):
        plan.find("base", "akida")


def test_an_address_means_a_recipe_a_target_or_a_stage(write):
    plan = make_plan(write({"recipes/same.yaml": "extends: base\n"}))
    assert plan.ids(plan.locate("same")) == plan.recipes["same"].ids
    assert plan.ids(plan.locate("same/akida")) == tuple(plan.recipes["base"].targets["akida"].values())
    assert plan.ids(plan.locate("same/train")) == ("base/train",)
    assert plan.ids(plan.locate("same/akida/emit")) == ("base/akida/emit",)
    with pytest.raises(RecastError, match=r"the trunk of recipe 'same' has no stage 'akita'; did you mean 'akida'\?"):
        plan.locate("same/akita")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bas/akida", "no recipe named 'bas' in recipes/; did you mean 'base'?"),
        ("base", "'base' names no target; for example: base/akida, base/onnxruntime"),
        ("base/akid", "recipe 'base' has no target 'akid'; did you mean 'base/akida'?"),
        ("base/train", "recipe 'base' has no target 'train'; for example: base/akida, base/onnxruntime"),
        ("base/akida/emit", "recipe 'base' has no target 'akida/emit'; did you mean 'base/akida'?"),
    ],
)
def test_what_is_no_targets_address_is_refused(write, text, message):
    with pytest.raises(RecastError) as refused:
        make_plan(write({})).locate_target(text)
    assert str(refused.value) == message


def test_planning_imports_no_package_of_a_target():
    """The promise that a plan needs no torch: a fresh process plans this repository's own recipes."""
    heavy = {"torch", "torchvision", "numpy", "onnx", "onnxruntime", "tensorflow", "akida", "quantizeml", "cnn2snn"}
    script = (
        "import sys; from pathlib import Path; from recast.pipeline.planning.make_plan import make_plan;"
        "import recast.pipeline.cli.main;"
        f"plan = make_plan(Path({str(ROOT)!r})); assert plan.stages; print(sorted(set(sys.modules) & {heavy!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
