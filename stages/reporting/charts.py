"""Vega-Lite specifications of the tables that stages write, by the template that their `Plot` names.

Colours are left to the page, which has a light and a dark scheme.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
"""the name of the language; nothing is fetched"""
MOST_POINTS = 2000
"""of a scatter plot: the first"""
MOST_NAMED = 25
"""classes, above which a confusion matrix has no numbers in it"""
LOWEST_ERROR = 1e-10
"""below it an error is none: a logarithmic axis has no zero"""


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def draw(drawing: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> tuple[Spec, str] | None:
    """A chart and what it shows in a sentence, for who does not see it; None where there is nothing to draw."""
    if not rows:
        return None
    made = _DRAWN.get(drawing["template"], _lines)
    return made(drawing["x"], list(drawing["y"]), rows)


def _lines(x: str, y: list[str], rows: Sequence[Mapping[str, str]]) -> tuple[Spec, str] | None:
    values = [
        {"x": at, "y": value, "of": _words(name)}
        for row in rows
        for name in y
        if (at := _number(row.get(x))) is not None and (value := _number(row.get(name))) is not None
    ]
    if len({point["x"] for point in values}) < 2:
        return None
    last = {str(point["of"]): float(str(point["y"])) for point in values}
    ends = ", ".join(f"{name} ends at {value:.4g}" for name, value in last.items())
    encoding = {
        "x": {"field": "x", "type": "quantitative", "title": _words(x), "axis": {"tickMinStep": 1, "grid": False}},
        "y": {"field": "y", "type": "quantitative", "title": None, "scale": {"zero": False}},
        "color": {"field": "of", "type": "nominal", "title": None, "sort": None},
        "strokeDash": {"field": "of", "type": "nominal", "title": None, "sort": None},
    }
    return _spec(values, {"type": "line", "point": {"size": 18}, "tooltip": True}, encoding, 240), ends


def _confusion(x: str, y: list[str], rows: Sequence[Mapping[str, str]]) -> tuple[Spec, str]:
    counts = Counter((row[x], row[y[0]]) for row in rows)
    names = sorted({name for pair in counts for name in pair}, key=_in_order)
    totals = Counter(row[x] for row in rows)
    values = [
        {"actual": true, "predicted": said, "samples": counts[true, said], "share": counts[true, said] / totals[true]}
        for true in names
        if totals[true]
        for said in names
        if counts[true, said]
    ]
    wrong = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
    most = ", ".join(f"{true} taken for {said} ({count})" for (true, said), count in wrong.most_common(3))
    told = f"{len(rows)} samples, {sum(wrong.values())} wrong{f'; most often {most}' if most else ''}"
    axis = {"labelLimit": 90, "labelOverlap": True}
    encoding = {
        "x": {
            "field": "predicted",
            "type": "nominal",
            "sort": names,
            "title": "predicted",
            "axis": {**axis, "labelAngle": 0 if max(map(len, names)) < 4 else -45},
            "scale": {"domain": names},
        },
        "y": {
            "field": "actual",
            "type": "nominal",
            "sort": names,
            "title": "actual",
            "axis": axis,
            "scale": {"domain": names},
        },
    }
    fill = {
        "color": {
            "field": "share",
            "type": "quantitative",
            "title": "share of the class",
            "legend": None,
            "scale": {"domain": [0, 1], "scheme": "blues"},
        }
    }
    layers: list[Spec] = [
        {
            "mark": {"type": "rect", "tooltip": True},
            "encoding": {
                **fill,
                "tooltip": [{"field": name} for name in ("actual", "predicted", "samples")],
            },
        }
    ]
    if len(names) <= MOST_NAMED:
        light = {"condition": {"test": "datum.share > 0.55", "value": "white"}, "value": "#0b1f33"}
        text = {"field": "samples", "type": "quantitative"}
        layers.append({"mark": {"type": "text", "fontSize": 10}, "encoding": {"text": text, "color": light}})
    spec = {
        "data": {"values": values},
        "encoding": encoding,
        "layer": layers,
        "width": "container",
        "height": {"step": min(26, max(10, 360 // len(names)))},
    }
    return _finished(spec), told


def _scatter(x: str, y: list[str], rows: Sequence[Mapping[str, str]]) -> tuple[Spec, str] | None:
    values = [
        {"x": at, "y": value, **({"kind": row["kind"]} if row.get("kind") else {})}
        for row in rows[:MOST_POINTS]
        if (at := _number(row.get(x))) is not None and (value := _number(row.get(y[0]))) is not None
    ]
    if not values:
        return None
    encoding: Spec = {
        "x": {"field": "x", "type": "quantitative", "title": _words(x), "scale": {"zero": False}},
        "y": {"field": "y", "type": "quantitative", "title": _words(y[0]), "scale": {"zero": False}},
    }
    if any("kind" in value for value in values):
        encoding["color"] = {"field": "kind", "type": "nominal", "title": None}
        encoding["shape"] = {"field": "kind", "type": "nominal", "title": None}
    said = f"{_words(y[0])} over {_words(x)} of {len(values)} of {len(rows)} points"
    spec = _spec(values, {"type": "point", "size": 18, "tooltip": True}, encoding, 260)
    if (x, y[0]) == ("actual", "predicted"):
        all_values = [float(str(value[axis])) for value in values for axis in ("x", "y")]
        low, high = min(all_values), max(all_values)
        ideal = {
            "data": {"values": [{"x": low, "y": low}, {"x": high, "y": high}]},
            "mark": {"type": "line", "strokeDash": [4, 4], "opacity": 0.6},
            "encoding": {name: encoding[name] for name in ("x", "y")},
        }
        points = {key: spec.pop(key) for key in ("data", "mark", "encoding")}
        return {**spec, "layer": [points, ideal]}, said
    return spec, said


def _by_layer(x: str, y: list[str], rows: Sequence[Mapping[str, str]]) -> tuple[Spec, str] | None:
    called = {"relative_error": "all layers so far", "relative_error_alone": "this layer alone"}
    values = [
        {"layer": row[x], "error": value, "of": called.get(name, _words(name))}
        for row in rows
        for name in y
        if (value := _number(row.get(name))) is not None and value > LOWEST_ERROR
    ]
    if not values:
        return None
    worst = max(values, key=lambda value: float(str(value["error"])))
    series = {
        "field": "of",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [called.get(n, _words(n)) for n in y]},
    }
    layers = [row[x] for row in rows]
    encoding = {
        "y": {
            "field": "layer",
            "type": "nominal",
            "sort": layers,
            "title": None,
            "axis": {"labelLimit": 150},
            "scale": {"domain": layers},
        },
        "x": {
            "field": "error",
            "type": "quantitative",
            "scale": {"type": "log"},
            "title": "relative error",
            "axis": {"format": ".0e", "tickCount": 4},
        },
        "color": series,
        "shape": series,
    }
    exact = len({*layers} - {str(value["layer"]) for value in values})
    told = f"the largest relative error is {worst['error']:.3g}, at {worst['layer']}"
    told += f"; {exact} of {len(layers)} layers have none" if exact else ""
    return _spec(values, {"type": "point", "filled": True, "size": 70, "tooltip": True}, encoding, {"step": 22}), told


def _bars(x: str, y: list[str], rows: Sequence[Mapping[str, str]]) -> tuple[Spec, str] | None:
    values = [
        {"at": row[x], "value": value, "of": _words(name)}
        for row in rows
        for name in y
        if (value := _number(row.get(name))) is not None
    ]
    if not values:
        return None
    most = max(values, key=lambda value: float(str(value["value"])))
    encoding: Spec = {
        "y": {
            "field": "at",
            "type": "nominal",
            "sort": [row[x] for row in rows],
            "title": None,
            "axis": {"labelLimit": 150},
        },
        "x": {"field": "value", "type": "quantitative", "title": ", ".join(map(_words, y))},
    }
    if len(y) > 1:
        encoding["yOffset"] = {"field": "of"}
        encoding["color"] = {"field": "of", "type": "nominal", "title": None}
    told = f"the most {most['of']} is {float(str(most['value'])):.4g}, at {most['at']}"
    return _spec(values, {"type": "bar", "tooltip": True}, encoding, {"step": 22}), told


def ranges(chosen: Mapping[str, Sequence[float]], seen: Mapping[str, Sequence[float]]) -> tuple[Spec, str]:
    """Ranges as calibration chose them, beside what the float model's layers gave: name -> lowest, highest."""
    values = [
        {"tensor": name, "low": low, "high": high, "of": of}
        for of, found in (("calibrated", chosen), ("seen before", seen))
        for name, (low, high) in found.items()
        if name in chosen
    ]
    encoding = {
        "y": {"field": "tensor", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 150}},
        "yOffset": {"field": "of", "sort": ["seen before", "calibrated"]},
        "x": {"field": "low", "type": "quantitative", "title": "value"},
        "x2": {"field": "high"},
        "color": {"field": "of", "type": "nominal", "title": None, "sort": ["seen before", "calibrated"]},
    }
    widest = max(chosen, key=lambda name: chosen[name][1] - chosen[name][0])
    told = f"{len(chosen)} ranges, the widest {widest} from {chosen[widest][0]:.4g} to {chosen[widest][1]:.4g}"
    return _spec(values, {"type": "bar", "tooltip": True}, encoding, {"step": 12}), told


def _spec(values: list[Any], mark: Spec, encoding: Spec, height: Any) -> Spec:
    return _finished(
        {"data": {"values": values}, "mark": mark, "encoding": encoding, "width": "container", "height": height}
    )


def _finished(spec: Spec) -> Spec:
    return {"$schema": SCHEMA, "autosize": {"type": "fit-x", "contains": "padding"}, **spec}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _words(name: str) -> str:
    return name.replace("_", " ")


def _in_order(name: str) -> tuple[float, str]:
    """Numbers by their size, then names."""
    value = _number(name)
    return (float("inf") if value is None else value, name)


_DRAWN = {
    "linear": _lines,
    "confusion": _confusion,
    "scatter": _scatter,
    "error_by_layer": _by_layer,
    "bar_horizontal": _bars,
}
