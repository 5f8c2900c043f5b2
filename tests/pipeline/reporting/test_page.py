"""What the runner does for a page, and leaves of it."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from recast.pipeline.core.errors import RecastError
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.processes import environments
from recast.pipeline.reporting import page
from recast.pipeline.reporting.facts import gather
from tests.lib.repository import Write


class ThisPython:
    """An environment whose interpreter is a script."""

    def __init__(self, root: Path, script: str) -> None:
        self.python = root / "python"
        self.python.write_text(f"#!/bin/sh\n{script}\n")
        self.python.chmod(0o755)


def write_page(root: Path, monkeypatch: pytest.MonkeyPatch, script: str, **more: Any) -> list[str]:
    """Write a page of all recipes by that script in place of the process that draws; what was said."""
    said: list[str] = []
    monkeypatch.setattr(environments, "ensure", lambda *arguments: ThisPython(root, script))
    plan = make_plan(root)
    page.write(root, plan, gather(root, plan, plan.recipes, None), [], root / "page.html", said.append, **more)
    return said


DRAW = (
    f"""{shlex.quote(sys.executable)} -c 'import json, sys; open(json.load(sys.stdin)["out"], "w").write("drawn\\n")'"""
)


def test_a_page_takes_the_place_of_the_one_before(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write({"page.html": "an old one"})
    assert write_page(root, monkeypatch, DRAW) == []
    assert (root / "page.html").read_text() == "drawn\n"
    assert not list(root.glob(".page*"))


def test_one_that_cannot_be_drawn_leaves_the_one_before(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write({"page.html": "an old one"})
    with pytest.raises(RecastError, match=r"the report cannot be drawn: cannot read a\.csv; run the recipe again"):
        write_page(root, monkeypatch, f"{DRAW}; echo 'cannot read a.csv' >&2; exit 1")
    assert (root / "page.html").read_text() == "an old one"
    assert not list(root.glob(".page*"))


def test_dvc_is_told_of_the_template_unless_it_has_one(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write({})
    with contextlib.chdir(root), contextlib.closing(Repo.init(no_scm=True)):
        said = write_page(root, monkeypatch, DRAW, dvc_plots=True)
        assert said == ["'dvc plots show' draws without a network in this clone"]
        local = root / ".dvc/config.local"
        assert "html_template = ../.recast/cache/report/dvc_plots.html" in local.read_text()
        (root / ".dvc/config").write_text("[plots]\n    html_template = mine.html\n")
        local.unlink()
        (said,) = write_page(root, monkeypatch, DRAW, dvc_plots=True)
    assert said == "plots.html_template is mine.html in DVC's configuration, and stays so"
    assert not local.exists()
