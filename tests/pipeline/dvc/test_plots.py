"""What `dvc plots show` draws of the stages' tables."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from dvc_render.vega_templates import TEMPLATES

from recast.stages import registry
from recast.stages.base import Plot
from recast.stages.parity.report import ERRORS

ROOT = Path(__file__).resolve().parents[3]
TABLE = """\
layer,relative_error,relative_error_alone
zeta,0.001,0.001
alpha,0.5,
mid + end,0.75,0.5
"""


def _plots(name: str) -> tuple[Plot, ...]:
    plots = registry.load(name).plots
    assert isinstance(plots, tuple)
    return plots


def test_every_plot_has_a_template_that_dvc_finds() -> None:
    known = {one.DEFAULT_NAME for one in TEMPLATES} | {path.stem for path in (ROOT / ".dvc" / "plots").glob("*.json")}
    verified = [name for name in registry.REGISTRY if registry.load(name).reports]
    used = {
        plot.template
        for name in verified
        for task in ("classification", "regression", "reconstruction")
        for plot in registry.load(name).plots_for({"task": {"name": task}})
    }
    used |= {plot.template for name in registry.REGISTRY if name not in verified for plot in _plots(name)}
    assert ERRORS.template in used
    assert used <= known


def test_the_error_by_layer_is_drawn_by_name_in_running_order(tmp_path: Path) -> None:
    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    dvc("init", "--quiet", "--no-scm")
    shutil.copytree(ROOT / ".dvc" / "plots", tmp_path / ".dvc" / "plots")
    (tmp_path / ERRORS.file).write_text(TABLE)
    plot = {"template": ERRORS.template, "x": ERRORS.x, "y": list(ERRORS.y)}
    (tmp_path / "dvc.yaml").write_text(json.dumps({"plots": [{ERRORS.file: plot}]}))
    (shown,) = json.loads(dvc("plots", "show", "--json"))["data"].values()
    content = shown[0]["content"]
    assert content["encoding"]["x"]["field"] == "layer"
    # text on a scale of numbers is not drawn at all, and sorted it is not the order in which layers run
    assert content["encoding"]["x"]["type"] == "nominal" and content["encoding"]["x"]["sort"] is None
    points = [(one["layer"], one["field"], one["dvc_inferred_y_value"]) for one in content["data"]["values"]]
    assert [layer for layer, field, _ in points if field == "relative_error"] == ["zeta", "alpha", "mid + end"]
    assert ("mid + end", "relative_error_alone", "0.5") in points
