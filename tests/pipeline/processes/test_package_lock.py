"""`recast env lock`, and the environments that hold what it has pinned on top of their own packages."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecastError
from recast.pipeline.processes import environment_use, environments
from recast.pipeline.processes.package_lock import lock
from tests.lib.repository import SOUND, Write

BASE = "# python: 3.11\n# size: 1 MB\niniconfig==2.3.0\n"
FILE = "recipes/locks/torch.txt"


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is built where the environments of the tests lie. Its path has a space and a quote."""
    monkeypatch.setenv("RECAST_HOME", str(tmp_path_factory.mktemp("a 'home'")))
    yield
    environment_use.release_all()


def lay(write: Write, requirements: str, pins: str = BASE) -> Path:
    params = f"{SOUND['params.yaml']}requirements: {{torch: {requirements}}}\n"
    return write({"envs/torch.txt": pins, "params.yaml": params})


def locking(place: Path, **options: bool) -> list[str]:
    said: list[str] = []
    lock(place, said.append, **options)
    return said


def test_a_lock_holds_what_is_added_and_the_environment_has_both(write: Write) -> None:
    place = lay(write, "[einops==0.8.1, iniconfig]")
    assert locking(place) == [f"wrote {FILE}: 1 package beside those of 'torch'"]
    assert (place / FILE).read_text().splitlines()[-1] == "einops==0.8.1"
    assert locking(place) == [f"{FILE} is up to date"]
    said: list[str] = []
    built = environments.ensure(place, "torch+own", said.append)
    base = environments.find(place, "torch")
    assert [line for line in said if "building" in line] == [
        "building the environment 'torch' (1 MB; once per change of envs/torch.txt)",
        f"building the environment 'torch+own' (1 package of {FILE})",
    ]
    assert built.directory != base.directory and built.base == base and built.is_built and base.is_built
    code = "import einops, iniconfig, importlib.metadata as m; print(m.version('einops'), m.version('iniconfig'))"
    asked = [built.python, "-c", f"{code}; print(einops.__file__); print(iniconfig.__file__)"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown[0] == "0.8.1 2.3.0" and shown[1].startswith(str(built.directory))
    assert shown[2].startswith(str(base.directory)), "it is installed once"
    assert environments.ensure(place, "torch+own", said.append) == built and len(said) == 4
    # a folder that is moved, or reached by another path, is still one whole
    moved = built.directory.parent.rename(built.directory.parent.with_name("moved"))
    again = [moved / built.directory.name / "bin/python", *asked[1:]]
    shown = subprocess.run(again, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown[0] == "0.8.1 2.3.0" and shown[2].startswith(str(moved / base.directory.name))
    moved.rename(built.directory.parent)
    # both are needed as long as the repository asks for them
    environments.prune(place, said.append)
    assert built.is_built and {one.name for one in environments.wanted(place)} >= {"torch", "torch+own"}
    (place / FILE).unlink()
    environment_use.release_all()
    environments.prune(place, said.append)
    assert not built.is_built and base.is_built


def test_what_a_lock_is_of_decides_the_environment(write: Write) -> None:
    place = lay(write, "[einops]")
    (place / "recipes/locks").mkdir()
    found = []
    more = f"{BASE}x==1\n"
    for text, pins in (("a==1", BASE), ("# a comment\na==1", BASE), ("a==2", BASE), ("a==1", more)):
        (place / FILE).write_text(text)
        (place / "envs/torch.txt").write_text(pins)
        found.append(environments.find(place, "torch+own").directory.name)
    assert found[0] == found[1] and len(set(found)) == 3
    (place / FILE).write_text("# nothing that is not there already\n")
    assert environments.find(place, "torch+own") == environments.find(place, "torch")


def test_a_pin_stays_until_it_is_to_be_upgraded(write: Write) -> None:
    place = lay(write, "[einops]")
    (place / "recipes/locks").mkdir()
    (place / FILE).write_text("einops==0.8.0\n")  # of other requirements
    locking(place)
    assert "einops==0.8.0\n" in (place / FILE).read_text()
    locking(place, upgrade=True)
    assert "einops==0.8.0\n" not in (place / FILE).read_text()


def test_what_does_not_go_with_the_environments_own_packages_is_refused(write: Write) -> None:
    place = lay(write, "[iniconfig<2]")
    with pytest.raises(RecastError) as caught:
        locking(place)
    assert str(caught.value).startswith("params.yaml:5:16: the requirements of 'torch' cannot be met beside its own")
    assert "iniconfig==2.3.0" in str(caught.value) and not (place / FILE).exists()


def test_locks_that_nothing_asks_for_go_and_those_of_others_stay(write: Write) -> None:
    place = lay(write, "[iniconfig]")
    locking(place)
    (place / "recipes/locks/mine.txt").write_text("theirs\n")
    (place / "params.yaml").write_text(SOUND["params.yaml"])
    said = locking(place)
    assert said[0] == f"deleted {FILE}, which nothing asks for any more" and "add 'requirements:" in said[1]
    assert [path.name for path in (place / "recipes/locks").iterdir()] == ["mine.txt"]


def test_each_lock_has_an_environment_of_its_name(write: Write) -> None:
    place = lay(write, "[]")
    (place / "recipes/locks").mkdir()
    for name in ("torch", "torch.digits", "gone.digits", "torch.empty"):
        (place / f"recipes/locks/{name}.txt").write_text("" if "empty" in name else "einops==1\n")
    names = [one.name for one in environments.wanted(place) if one.name.startswith(("torch", "gone"))]
    assert names == ["torch", "torch+own.digits", "torch+own"]
    with pytest.raises(
        RecastError, match=r"no environment named 'torch\+own\.x': there is no recipes/locks/torch\.x\.txt"
    ):
        environments.find(place, "torch+own.x")
    with pytest.raises(RecastError, match="no environment named 'gone'"):
        environments.find(place, "gone+own.digits")
