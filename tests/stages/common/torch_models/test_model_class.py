# environment: torch
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recast.stages.base import ModelReference, ProjectCode, StageError
from recast.stages.common.torch_models.model_class import build_model

GOOD = """
from torch import nn

class Tiny(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        if width < 0:
            raise ValueError("width below 0")
        self.fc = nn.Linear(width, 2)

NotAModel = dict
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path whose package `zoo_<n>` is fresh in each test."""
    folder = tmp_path / f"zoo_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def build(package: Path, source: str, name: str = "Tiny", **args: object) -> object:
    (package / "net.py").write_text(source)
    return build_model(ModelReference(name=f"{package.name}.net:{name}", args=args), ProjectCode(package.parent))


def refused(package: Path, source: str, name: str = "Tiny", **args: object) -> str:
    with pytest.raises(StageError) as caught:
        build(package, source, name, **args)
    return f"{caught.value.message} | {caught.value.remedy}".replace(package.name, "zoo")


def test_the_class_is_constructed_with_its_arguments(package: Path) -> None:
    assert build(package, GOOD, width=5).fc.in_features == 5  # type: ignore[attr-defined]


def test_a_function_that_makes_a_model_will_do(package: Path) -> None:
    source = GOOD + "\ndef wide():\n    return Tiny(9)\n\ndef nothing():\n    return 3\n"
    assert build(package, source, "wide").fc.in_features == 9  # type: ignore[attr-defined]
    assert "zoo.net:nothing returns int, not a torch.nn.Module" in refused(package, source, "nothing")


def test_a_missing_module_or_class_is_told(package: Path) -> None:
    assert "zoo/net.py has no class Tinny | did you mean 'Tiny'?" in refused(package, GOOD, "Tinny")
    assert "zoo.net:NotAModel is not a torch.nn.Module class" in refused(package, GOOD, "NotAModel")
    with pytest.raises(StageError, match=r"'zoo_x\.y' is no module of this repository"):
        build_model(ModelReference(name="zoo_x.y:Tiny"), ProjectCode(package.parent))
    with pytest.raises(StageError, match=r"should be in .*/nett\.py, which does not exist") as caught:
        build_model(ModelReference(name=f"{package.name}.nett:Tiny"), ProjectCode(package.parent))
    assert caught.value.remedy == "did you mean 'net'?"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nclass Tiny(:\n", "cannot import zoo.net: zoo/net.py:2: SyntaxError: invalid syntax"),
        ("\n\nx = 1 / 0\n", "cannot import zoo.net: zoo/net.py:3: ZeroDivisionError: division by zero"),
        ("\nimport json\njson.loads('{')\n", "cannot import zoo.net: zoo/net.py:3: JSONDecodeError"),
        (
            "\nimport not_installed.part\n",
            "zoo/net.py:2: No module named 'not_installed' | add the package that provides",
        ),
    ],
)
def test_a_failing_import_names_file_and_line(package: Path, source: str, message: str) -> None:
    assert message in refused(package, source)


def test_a_failing_constructor_names_file_and_line(package: Path) -> None:
    message = "cannot construct zoo.net:Tiny: zoo/net.py:8: ValueError: width below 0"
    assert message in refused(package, GOOD, width=-1)
    message = "cannot construct zoo.net:Tiny: zoo/net.py: TypeError: Tiny.__init__() got an unexpected keyword"
    assert message in refused(package, GOOD, depth=3)


def test_a_package_that_is_absent_comes_by_the_pins(package: Path) -> None:
    """What is installed into a locked environment by hand is gone with the next change of its pins."""
    said = refused(package, "\nimport einops\n")
    assert said.endswith(
        "No module named 'einops' | add the package that provides 'einops' to params.yaml, as 'requirements: "
        "{torch: [einops]}', and run './recast env lock', or drop the import at zoo/net.py:2"
    )


def test_a_module_that_a_package_has_not_is_asked_of_nobody(package: Path) -> None:
    assert refused(package, "\nimport numpy.nothing\n").endswith("| mend the import at zoo/net.py:2")


def test_a_module_of_ones_own_that_is_absent_is_to_be_written(package: Path) -> None:
    said = refused(package, f"import {package.name}.blocks\n")
    assert said.endswith("| create zoo/blocks.py, or mend the import at zoo/net.py:1")


def test_the_file_at_fault_is_named_where_the_model_imports_it(package: Path) -> None:
    (package / "blocks.py").write_text("\nwidth = undefined\n")
    said = refused(package, f"import {package.name}.blocks\n")
    assert (
        said
        == "cannot import zoo.net: zoo/blocks.py:2: NameError: name 'undefined' is not defined | mend zoo/blocks.py"
    )


@pytest.mark.parametrize("name", ["multiprocessing.popen_spawn_win32:Popen", "os:stat_result"])
def test_nobody_is_asked_to_mend_python(name: str) -> None:
    with pytest.raises(StageError) as caught:
        build_model(ModelReference(name=name, args={"a": 1}), ProjectCode())
    assert caught.value.remedy.startswith("name a class in models/") and ".py" not in caught.value.remedy


@pytest.mark.parametrize("name", ["torchvision.models:squeezenet1_0", "{package}.net:squeezenet1_0"])
def test_a_model_that_is_torchvisions_or_imports_it_is_built(package: Path, name: str) -> None:
    # in a process of its own: torchvision may be imported here already
    (package / "net.py").write_text(
        "from torchvision import models\n\ndef squeezenet1_0(**args):\n    return models.squeezenet1_0(**args)\n"
    )
    program = (
        "import sys; from pathlib import Path; from recast.stages.base import ModelReference, ProjectCode; "
        "from recast.stages.common.torch_models.model_class import build_model; "
        "print(type(build_model(ModelReference(name=sys.argv[1]), ProjectCode(Path(sys.argv[2])))).__name__)"
    )
    paths = os.pathsep.join([str(package.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program, name.format(package=package.name), str(package.parent)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("SqueezeNet\n", 0), done.stderr


# what a recipe may not call: it says which name, and with which arguments

PROBES = """
import functools, os, subprocess
from os import system
from os.path import join
from torch import load, nn
from torch.hub import load as hub
from torchvision_like import builder

class Tiny(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.fc = nn.Linear(width, 2)

    @classmethod
    def made(cls, width=3):
        return cls(width)

run = subprocess.run
alias = system
popen = os.popen
part = functools.partial(os.system, "false")
stated = functools.partial(Tiny, width=7)
made = Tiny.made
cached = functools.lru_cache(lambda width=4: Tiny(width))
instance = Tiny()
Exit = SystemExit

@functools.wraps(os.popen)
def disguised(width=5):
    return Tiny(width)
"""


@pytest.fixture
def probes(package: Path) -> Path:
    (package.parent / "torchvision_like").mkdir()
    (package.parent / "torchvision_like/__init__.py").write_text("def builder(): raise AssertionError\n")
    return package


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("system", "neither a class nor a function"),
        ("alias", "neither a class nor a function"),
        ("part", "neither a class nor a function"),
        ("instance", "neither a class nor a function"),
        ("os", "neither a class nor a function"),
        ("join", "is a function of posixpath, which a recipe may not call"),
        ("run", "is a function of subprocess, which a recipe may not call"),
        ("popen", "is a function of os, which a recipe may not call"),
        ("load", "is a function of torch.serialization, which a recipe may not call"),
        ("hub", "is a function of torch.hub, which a recipe may not call"),
        ("Exit", "is not a torch.nn.Module class"),
        ("disguised", "is a function of os, which a recipe may not call"),
    ],
)
def test_what_a_module_of_the_project_only_imports_is_not_called(probes: Path, name: str, message: str) -> None:
    assert message in refused(probes, PROBES, name)


def test_ways_to_make_a_model_are_called(probes: Path) -> None:
    for name, width in (("stated", 7), ("made", 3), ("cached", 4)):
        assert build(probes, PROBES, name).fc.in_features == width  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "name",
    [
        *("os:system", "subprocess:run", "builtins:eval", "pickle:loads", "importlib:import_module", "torch:load"),
        *(
            "torch.hub:load",
            "torch.jit:load",
            "numpy:load",
            "torchvision:models",
            "torchvision.io:read_file",
            "pip:main",
        ),
        *(
            "stages.registry:load",
            "recast.stages.registry:load",
            "recast.pipeline.cli.main:main",
            "envs.install:install",
            "benchmarks.ezkl:main",
        ),
        *("artifacts.x:run", "models.__main__:run", "__main__:run", "models.digits_cnn.__class__:x"),
    ],
)
def test_no_other_module_is_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(name: str) -> None:
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr("importlib.import_module", never)
    with pytest.raises(StageError):
        build_model(ModelReference(name=name), ProjectCode())


def test_a_link_out_of_the_repository_is_not_imported(package: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "net.py"
    outside.write_text("raise AssertionError\n")
    (package / "net.py").symlink_to(outside)
    with pytest.raises(StageError, match=r"net\.py is a link that leads outside the repository"):
        build_model(ModelReference(name=f"{package.name}.net:Tiny"), ProjectCode(package.parent))


def test_builders_of_packages_make_models_and_nothing_else_of_them_is_called() -> None:
    assert build_model(
        ModelReference(name="torch.nn:Linear", args={"in_features": 3, "out_features": 2}), ProjectCode()
    ).weight.shape
    made = build_model(ModelReference(name="torchvision.models:resnet18", args={"num_classes": 7}), ProjectCode())
    assert made.fc.out_features == 7  # type: ignore[union-attr]
    for name in ("torchvision.models:list_models", "torchvision.models:get_weight", "torch.nn.init:zeros_"):
        with pytest.raises(StageError, match=r"is not annotated to return a torch\.nn\.Module"):
            build_model(ModelReference(name=name), ProjectCode())
    with pytest.raises(StageError, match=r"there is no module torchvision\.models\.nothing"):
        build_model(ModelReference(name="torchvision.models.nothing:Net"), ProjectCode())


def test_a_model_below_an_import_root_is_named_as_python_imports_it(package: Path) -> None:
    project = ProjectCode(package.parents[0].parent, (package.parent.name, "."))
    (package / "net.py").write_text(GOOD)
    assert build_model(ModelReference(name=f"{package.name}.net:Tiny"), project)
    (package / "net2.py").write_text("def made():\n    return 3\n")
    with pytest.raises(StageError, match="returns int, not a"):  # its functions are the project's own
        build_model(ModelReference(name=f"{package.name}.net2:made"), project)
    (package / "net3.py").write_text("x = 1 / 0\n")
    shown = (package / "net3.py").relative_to(project.root).as_posix()
    with pytest.raises(StageError, match="ZeroDivisionError") as caught:
        build_model(ModelReference(name=f"{package.name}.net3:made"), project)
    assert shown.endswith("net3.py") and "net3.py:1" in caught.value.message
