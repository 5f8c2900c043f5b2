"""Folders that modules are imported from: what a recipe names is found there, file by file, and nowhere outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.dvc.dvcfile import stage_entry
from recast.pipeline.planning.import_graph import import_closure
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.stage_sections import sections
from recast.stages.common.torch_models.model_source import searched
from tests.lib.repository import Write

RECIPE = 'model: "{model}"\nstages:\n  data: {{dataset: digits}}\ntargets:\n  onnxruntime: {{}}\n'
FILES = {
    "src/mypkg/__init__.py": "from .blocks import Block\n",
    "src/mypkg/nets.py": "import pipeline.layers\nfrom stages import more\nfrom models.net import Net as Base\n"
    "class Net:\n    def __init__(self, width: int): ...\n",
    "src/mypkg/blocks.py": "class Block: ...\n",
    "src/mypkg/unused.py": "",
    # what Recast's own folders are called in its repository, and where every project has its recipes
    "src/pipeline/__init__.py": "",
    "src/pipeline/layers.py": "",
    "src/stages/__init__.py": "",
    "src/stages/more.py": "import recipes.heads\n",
    "recipes/__init__.py": "",
    "recipes/heads.py": "class Head: ...\n",
}
SETTING = "import_roots: [src]\n"


def said_of(place: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        make_plan(place, ["r"])
    return str(caught.value)


def test_a_model_is_found_below_a_root_and_every_file_it_reads_is_a_dependency(write: Write) -> None:
    recipe = RECIPE.format(model="mypkg.nets:Net").replace(
        '"mypkg.nets:Net"', '{name: "mypkg.nets:Net", args: {width: 3}}'
    )
    place = write({**FILES, "params.yaml": SETTING, "recipes/r.yaml": recipe})
    plan = make_plan(place, ["r"])
    for name, stage in {one.name: one for one in plan.stages.values()}.items():
        entry = stage_entry(plan, stage)
        own = [dep for dep in entry["deps"] if dep.endswith(".py") and dep.startswith(("src/", "models/", "recipes/"))]
        if name in ("train", "export"):
            files = ("__init__", "blocks", "nets")
            expected = ["models/__init__.py", "models/layers.py", "models/net.py", "recipes/__init__.py"]
            expected += ["recipes/heads.py", *(f"src/mypkg/{file}.py" for file in files)]
            expected += ["src/pipeline/__init__.py", "src/pipeline/layers.py"]
            assert own == [*expected, "src/stages/__init__.py", "src/stages/more.py"]
            # DVC tracks the setting itself, and an edit of it during a run is seen
            assert "import_roots" in dict(pair for one in entry["params"] for pair in one.items())["params.yaml"]
            assert (sections(place, stage) or {})["params.yaml", "import_roots"] == ["src"]
        else:
            assert own == [] and "import_roots" not in str(entry)
        assert stage.project.import_roots == ("src", ".")


def test_its_signature_is_checked_and_without_the_setting_it_is_asked_for(write: Write) -> None:
    place = write({**FILES, "params.yaml": SETTING, "recipes/r.yaml": RECIPE.format(model="mypkg.nets:Net")})
    assert "the model 'Net' needs the argument 'width'" in said_of(place)
    place = write({**FILES, "params.yaml": "lr: 3\n", "recipes/r.yaml": RECIPE.format(model="mypkg.nets:Net")})
    said = said_of(place)
    assert "'mypkg.nets' is no module of this repository" in said
    assert "src/ has a 'mypkg': add 'import_roots: [src]' to params.yaml" in said


@pytest.mark.parametrize("model", ["pipeline.layers:A", "stages.more:A", "recipes.heads:Head"])
def test_a_project_may_call_its_packages_as_recast_calls_its_own(model: str, write: Write) -> None:
    files = {name: text or "class A: ...\n" for name, text in FILES.items()}
    files["src/stages/more.py"] = "class A: ...\n"
    place = write({**files, "params.yaml": SETTING, "recipes/r.yaml": RECIPE.format(model=model)})
    train = make_plan(place, ["r"]).stages["r/train"]
    assert [file for file in train.code if file.endswith(f"/{model.split('.')[1].split(':')[0]}.py")]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("[../other]", "params.yaml:1:16: the import root '../other' must be a path relative to the repository"),
        ("[/tmp]", "params.yaml:1:16: the import root '/tmp' must be a path relative to the repository"),
        ("['~']", "the import root '~' must be a path relative to the repository"),
        ("[far]", "the import root 'far' is a link that leads outside the repository; copy the code in"),
        ("[loop]", "the import root 'loop' cannot be looked at"),
        ("[gone]", "the import root 'gone' is not there; name a folder that holds packages, or drop it"),
        ("[params.yaml]", "the import root 'params.yaml' is no folder"),
        ("[.recast/x]", "the import root '.recast/x' may not lie in"),
        ("[artifacts]", "the import root 'artifacts' may not lie in"),
        ("[made]", "the import root 'made' may not lie in"),
        ("src", "'import_roots' must be a list of folders, not text 'src'; write 'import_roots: [src]'"),
        ("[3]", "'import_roots' must be a list of folders"),
        ("{a: b}", "'import_roots' must be a list of folders"),
    ],
)
def test_a_root_that_is_none_is_one_error(said: str, message: str, write: Write) -> None:
    place = write({"params.yaml": f"import_roots: {said}\n", "recipes/r.yaml": RECIPE.format(model="models.net:Net")})
    (place / "far").symlink_to(place.parent)
    (place / "loop").symlink_to("loop")
    (place / "artifacts/x").mkdir(parents=True)
    (place / "made").symlink_to("artifacts/x")
    found = said_of(place)
    assert message in found and found.count("import_roots") + found.count("import root") <= 2
    assert found.count("\n") == 0, found


def test_what_a_link_below_a_root_leads_out_to_is_refused(
    write: Write, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "net.py").write_text("class Net: ...\n")
    place = write({"params.yaml": SETTING, "recipes/r.yaml": RECIPE.format(model="far.net:Net"), "src/x.py": ""})
    (place / "src/far").symlink_to(outside)
    assert "src/far/net.py is a link that leads outside the repository" in said_of(place)
    (place / "artifacts").mkdir()
    (place / "artifacts/net.py").write_text("class Net: ...\n")
    (place / "src/far").unlink()
    (place / "src/far").symlink_to("../artifacts")
    assert "a model may not come from artifacts/" in said_of(place)


def test_the_first_root_with_a_package_is_taken_and_folders_are_joined(tmp_path: Path) -> None:
    for name in ("a/one/x.py", "b/one/__init__.py", "b/two/y.py", "a/two/z.py", "c/one/__init__.py", "b/three.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    roots = ("a", "b", "c", ".")
    assert searched(tmp_path, roots, "one") == ("b",)  # a/one is no package
    assert searched(tmp_path, roots, "two") == ("a", "b")
    assert searched(tmp_path, roots, "three") == ("b",)
    assert searched(tmp_path, roots, "four") == ()
    (tmp_path / "m.py").write_text("import two.y, two.z, one.x\nimport three\n")
    assert import_closure(tmp_path, "m", import_roots=roots) == (
        *("a/two/z.py", "b/one/__init__.py", "b/three.py", "b/two/y.py", "m.py"),
    )
