"""Which models a recipe may name, as planning sees it: from source, with nothing imported."""

from __future__ import annotations

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.planning import source_definition
from recast.pipeline.planning.make_plan import make_plan
from recast.stages.base import ProjectCode

PROBES = """\
import os
import subprocess as sp
from os import system
from os.path import join as j
from torch import load, nn
from torchvision.models import resnet18
from models.net import Net as Other
from models import net
from .layers import Block

run = sp.run
alias = system
VALUE = 3
if True:
    from os import popen


class A(nn.Module):
    def __init__(self, width: int, *, depth: int = 2, name: str = None, rate: float = 0.1, flag: bool = True): ...


class B(A): ...


class C(nn.Module):
    def __init__(self, **others): ...


class D(nn.Module): ...


class E(Unknown): ...


def make(width, /, depth=1): ...


@decorated
def wrapped(): ...
"""
REQUIREMENTS = "# models: torch.nn torchvision.models\ntorch==2\n"


def said_of(write, model: str) -> str:
    recipe = f"model: {model}\nstages:\n  data: {{dataset: digits}}\ntargets:\n  akida: {{}}\n"
    place = write({"recipes/r.yaml": recipe, "models/x.py": PROBES, "envs/torch.in": REQUIREMENTS})
    try:
        make_plan(place, ["r"])
    except RecipeError as error:
        (problem,) = error.problems
        assert (problem.file, problem.line) == ("recipes/r.yaml", 1)
        return problem.message
    return ""


def named(name: str, args: str = "") -> str:
    return f'{{name: "{name}", args: {{{args}}}}}'


@pytest.mark.parametrize(
    "name",
    [
        *("os:system", "subprocess:run", "builtins:eval", "pickle:loads", "importlib:import_module", "posix:system"),
        *("torch:load", "torch.hub:load", "torch.jit:load", "torch.nnx:A", "torchvision:models", "torchvision.io:x"),
        *("numpy:load", "pydantic:create_model", "antigravity:x", "pip:main", "code:interact"),
    ],
)
def test_what_is_only_importable_is_no_place_for_models(name, write):
    module = name.partition(":")[0]
    assert said_of(write, named(name)).startswith(f"'{module}' is no module of this repository, nor of a package")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os", "'os' of models/x.py is a module"),
        ("sp", "'sp' of models/x.py is a module"),
        ("system", "'system' of models/x.py is system of 'os', which a recipe may not call"),
        ("j", "'j' of models/x.py is join of 'os.path', which a recipe may not call"),
        ("load", "'load' of models/x.py is load of 'torch', which a recipe may not call"),
        ("run", "'run' of models/x.py is run of 'subprocess', which a recipe may not call"),
        ("alias", "'system' of models/x.py is system of 'os', which a recipe may not call"),
        ("VALUE", "'VALUE' of models/x.py is neither a class nor a function"),
        ("A", "the model 'A' needs the argument 'width'"),
        ("B", "the model 'B' needs the argument 'width'"),
    ],
)
def test_what_a_module_of_the_project_only_imports(name, message, write):
    assert said_of(write, f"models.x:{name}") == message


@pytest.mark.parametrize("name", ["resnet18", "Other", "Block", "C", "D", "E", "make", "wrapped", "popen"])
def test_what_may_be_a_model_as_far_as_source_tells(name, write):
    assert said_of(write, f"models.x:{name}") == ""


@pytest.mark.parametrize("name", ["torch.nn:Linear", "torchvision.models:resnet18", "torchvision.models.resnet:ResNet"])
def test_packages_that_the_requirements_state(name, write):
    assert said_of(write, name) == ""


def test_a_project_without_pins_of_its_own_has_those_that_recast_states(write):
    recipe = "model: torchvision.models:resnet18\nstages:\n  data: {dataset: digits}\ntargets:\n  akida: {}\n"
    assert make_plan(write({"recipes/r.yaml": recipe}), ["r"]).stages["r/train"].params["model"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (named("models.x:A", "width: 3"), ""),
        (named("models.x:A", "width: 3, depth: 1, name: null, rate: 1, flag: false"), ""),
        (named("models.x:A", "widht: 3"), "the model 'A' takes no argument 'widht'"),
        (named("models.x:B", "width: 3, depht: 3"), "the model 'B' takes no argument 'depht'"),
        (named("models.x:A", "width: 3.5"), "the argument 'width' of the model 'A' must be a whole number, not 3.5"),
        (named("models.x:A", "width: true"), "the argument 'width' of the model 'A' must be a whole number, not true"),
        (named("models.x:A", "width: 3, flag: 1"), "the argument 'flag' of the model 'A' must be true or false, not 1"),
        (named("models.x:C", "anything: 3"), ""),
        (named("models.x:D", "width: 3"), "the model 'D' takes no argument 'width'"),
        (named("models.x:E", "width: 3"), ""),
        (named("models.x:make", "width: 3"), "the model 'make' takes no argument 'width'"),
        (named("models.x:wrapped", "width: 3"), ""),
    ],
)
def test_arguments_are_those_of_the_source(model, message, write):
    assert said_of(write, model) == message


@pytest.mark.parametrize("folder", ["stages", "pipeline", "envs", "benchmarks", "artifacts"])
def test_folders_that_hold_no_models(folder, write):
    place = write({f"{folder}/x.py": "class A: ...\n", "src/recast/__init__.py": ""})
    assert place and said_of(write, f"{folder}.x:A") == f"a model may not come from {folder}/"


def test_a_file_that_lies_elsewhere(write, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.py"
    outside.write_text("class A: ...\n")
    place = write({})
    (place / "models/far.py").symlink_to(outside)
    assert said_of(write, "models.far:A") == "models/far.py is a link that leads outside the repository"


@pytest.mark.parametrize("name", ["models.__init__:A", "models.__main__:A", f"models.{'a' * 300}:A"])
def test_names_that_are_no_modules_of_models(name, write):
    assert "is no module that a model may come from" in said_of(write, name)


@pytest.mark.parametrize("text", ["class A(:\n", "\0", "x = " + "(" * 5000, "A = A\n", "from models.odd import A\n"])
def test_source_that_tells_nothing_is_left_to_the_stage(text, tmp_path):
    (tmp_path / "models").mkdir()
    file = tmp_path / "models/odd.py"
    file.write_text(text)
    assert source_definition.find(ProjectCode(tmp_path), "models.odd", file, "A") is None
