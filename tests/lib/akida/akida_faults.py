"""The faults in the forms that the akida target makes: quantizeml's integer graph, and an `akida.Model` as a dict."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.lib.akida.networks import FLAT
from tests.lib.faults import (
    Impossible,
    Plant,
    Planted,
    Site,
    change,
    channels_last,
    in_float,
    node,
    without_last_quarter,
)


def has_no_scales(model: Any) -> bool:
    return not any(one.name == "scale" for entry in model.graph.node for one in entry.attribute)


def in_lowered(fault: str, site: Site, flat: tuple[int, int, int] = FLAT) -> Planted | Impossible:
    """In the float graph that is lowered."""
    if fault == "wrong axis":
        # Akida has no softmax: its axes are those of what is flattened
        return Planted(
            site.layer, lambda model: change(model, f"{site.layer}.weight", lambda w: channels_last(w, flat))
        )
    if fault == "saturating scale":
        return Impossible("the lowered graph is float and has no scales", has_no_scales)
    return in_float(fault, site)


def in_integer(fault: str, site: Site, flat: tuple[int, int, int] = FLAT) -> Planted:
    """In quantizeml's integer graph, whose constants are named after the node."""

    def part(name: str, how: Any) -> Plant:
        return lambda model: change(model, f"{node(model, site.output).name}_{name}", how)

    def remove_relu(model: Any) -> None:
        one = node(model, site.output)
        function = next(entry for entry in model.functions if entry.name == one.op_type)
        without = type(function)()
        without.CopyFrom(function)
        one.op_type = without.name = function.name.replace("ReLU", "")
        next(entry for entry in without.node if entry.op_type == "Relu").op_type = "Identity"
        if without.name not in {entry.name for entry in model.functions}:
            model.functions.append(without)

    def other_normalisation(model: Any) -> None:
        for name in ("M", "S_out"):
            part(name, lambda scale: np.flip(scale, 1))(model)

    plants: dict[str, Plant] = {
        "removed ReLU": remove_relu,
        # (N, C, height, width): what is added in front, then what is added behind
        "swapped padding": part("pads", lambda pads: np.concatenate([pads[4:], pads[:4]])),
        "wrong axis": part("Wi", lambda w: channels_last(w, flat)),
        "wrong normalisation": other_normalisation,
        "truncated weight": part("Wi", without_last_quarter),
        "saturating scale": part("S_out", lambda shift: shift / 8),
        "transposed Gemm": part("Wi", lambda w: w.T),
    }
    return Planted(site.layer, plants[fault])


def in_akida(fault: str, site: Site, integers: Any, flat: tuple[int, int, int] = FLAT) -> Planted:
    """In the akida model, whose layers have the names of the nodes of the integer graph they were made of."""
    name = node(integers, site.output).name

    def entry(described: Any) -> Any:
        return next(one for one in described["layers"] if one["name"] == name)

    def variable(which: str, how: Any) -> Plant:
        def plant(described: Any) -> None:
            part = entry(described)["variables"][which]
            part["data"] = np.asarray(how(np.array(part["data"]).reshape(part["shape"]))).tolist()
            part["bitwidth"] = max(part["bitwidth"], 6)  # the new values may need more than the old ones

        return plant

    def remove_relu(described: Any) -> None:
        one = entry(described)
        one["parameters"]["activation"] = 0
        for part in ("max_value", "max_value_shift"):
            del one["variables"][part]

    def other_padding(described: Any) -> None:
        parameters = entry(described)["parameters"]
        # the two kinds of "same": they differ in where an odd row goes
        parameters["padding"] = {1: 2, 2: 1}[parameters["padding"]]

    def other_normalisation(described: Any) -> None:
        for which in ("output_scales", "output_shift"):
            variable(which, lambda scale: scale[::-1])(described)

    def flattened_channels_first(w: NDArray[Any]) -> NDArray[Any]:
        channels, height, width = flat
        return w.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(w.shape)

    plants: dict[str, Plant] = {
        "removed ReLU": remove_relu,
        "swapped padding": other_padding,
        "wrong axis": variable("weights", flattened_channels_first),
        "wrong normalisation": other_normalisation,
        # the last axis is that of the filters
        "truncated weight": variable(
            "weights", lambda w: np.moveaxis(without_last_quarter(np.moveaxis(w, -1, 0)), 0, -1)
        ),
        "saturating scale": variable("output_shift", lambda shift: shift + 3),
        "transposed Gemm": variable("weights", lambda w: w.T),
    }
    return Planted(site.layer, plants[fault])
