# environment: report
"""Tables that stages write, as charts."""

from __future__ import annotations

from typing import Any

from recast.stages.reporting import charts


def drawn(y: list[str], rows: list[dict[str, str]]) -> Any:
    return charts.draw({"template": "bar_horizontal", "x": "layer", "y": y}, rows)


def test_a_figure_by_layer_is_drawn_as_bars_in_the_order_of_the_layers() -> None:
    rows = [{"layer": "conv", "steps": "12"}, {"layer": "act", "steps": "40"}, {"layer": "fc", "steps": ""}]
    spec, told = drawn(["steps"], rows)
    assert spec["mark"]["type"] == "bar"
    # what has no value has a place and no bar
    assert spec["encoding"]["y"]["sort"] == ["conv", "act", "fc"]
    assert [(value["at"], value["value"]) for value in spec["data"]["values"]] == [("conv", 12.0), ("act", 40.0)]
    assert told == "the most steps is 40, at act"
    assert "color" not in spec["encoding"]


def test_several_figures_stand_side_by_side_and_none_is_no_chart() -> None:
    spec, told = drawn(["first_one", "other"], [{"layer": "a", "first_one": "1", "other": "2"}])
    assert spec["encoding"]["yOffset"] == {"field": "of"} and "color" in spec["encoding"]
    assert told == "the most other is 2, at a"
    assert drawn(["steps"], [{"layer": "a", "steps": ""}]) is None
