"""A verb that targets register, called by the command line: on a release it needs no project."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from recast.pipeline.cli import entered
from recast.pipeline.cli.main import main
from recast.pipeline.processes import environments
from recast.stages import registry
from recast.stages.registry import Entry
from tests.lib.small_release import lay


class _Became(Exception):
    """The process became another."""


@pytest.mark.parametrize("installed", [True, False])
def test_a_release_is_served_where_no_project_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lay(tmp_path / "r")
    monkeypatch.setenv("RECAST_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(entered, "IS_INSTALLED", installed)
    monkeypatch.setitem(registry.PREDICTORS, "b.emit", Entry("a_predictor", "onnx"))
    python = SimpleNamespace(python=Path("python"))
    monkeypatch.setattr(environments, "ensure", lambda root, name, say: python)
    became: list[list[str]] = []

    def become(program: str, arguments: list[str], variables: dict[str, str]) -> None:
        became.append(arguments)
        raise _Became

    monkeypatch.setattr("os.execve", become)
    here = tmp_path / "empty"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(SystemExit):
        main(["serve", "../r"])
    job = json.loads(became[0][-1])
    assert job["artifacts"]["directories"] == {"emit": str(folder / "model")}
    assert job["root"] == str(tmp_path / "home/outside" if installed else entered.PACKAGE)
    assert not list(here.iterdir())
    with pytest.raises(SystemExit):
        main(["serve", "digits/onnxruntime"])
    assert "make this one with 'recast init'" in capsys.readouterr().err and len(became) == 1
