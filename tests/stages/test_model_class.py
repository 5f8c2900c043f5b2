# environment: torch
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.base import ModelReference, StageError
from stages.model_class import build_model

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
    return build_model(ModelReference(name=f"{package.name}.net:{name}", args=args))


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
    assert "zoo/net.py has no class Tinny | did you mean 'Tiny'? supported: Tiny" in refused(package, GOOD, "Tinny")
    assert "zoo.net:NotAModel is not a torch.nn.Module class" in refused(package, GOOD, "NotAModel")
    with pytest.raises(StageError, match=r"there is no module zoo_x\.y") as caught:
        build_model(ModelReference(name="zoo_x.y:Tiny"))
    assert "create zoo_x/y.py" in caught.value.remedy


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
        "No module named 'einops' | add the package that provides 'einops' to envs/torch.in and run "
        "'.venv/bin/python envs/lock.py torch', or drop the import at zoo/net.py:2"
    )


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
        build_model(ModelReference(name=name, args={"a": 1}))
    assert "`model`" in caught.value.remedy or "`args`" in caught.value.remedy
    assert "mend os" not in caught.value.remedy and ".py" not in caught.value.remedy


@pytest.mark.parametrize("name", ["torchvision.models:squeezenet1_0", "{package}.net:squeezenet1_0"])
def test_a_model_that_is_torchvisions_or_imports_it_is_built(package: Path, name: str) -> None:
    # in a process of its own: torchvision may be imported here already
    (package / "net.py").write_text(
        "from torchvision import models\n\ndef squeezenet1_0(**args):\n    return models.squeezenet1_0(**args)\n"
    )
    program = (
        "import sys; from stages.base import ModelReference; from stages.model_class import build_model; "
        "print(type(build_model(ModelReference(name=sys.argv[1]))).__name__)"
    )
    paths = os.pathsep.join([str(package.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program, name.format(package=package.name)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("SqueezeNet\n", 0), done.stderr
