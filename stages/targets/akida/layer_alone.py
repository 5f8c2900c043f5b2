"""A layer of an `akida.Model` in a model that ends with it, or in one of its own, which takes what the layer reads.

Akida gives integers to a layer by an `InputData`, of which a model has only one. A layer that reads several tensors,
such as an Add, gets them joined along the channels, and a convolution of 1x1 with a single one per filter picks each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.targets.akida import runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINED = "inputs"


def up_to(described: Mapping[str, Any], layer: Any) -> runtime.AkidaModel:
    """The model cut off behind the layer: all that it reads, without the branches that it does not."""
    import akida

    needed: set[str] = set()
    pending = [layer]
    while pending:
        one = pending.pop()
        if one.name not in needed:
            needed.add(one.name)
            pending += one.inbounds
    entries = [entry for entry in described["layers"] if entry["name"] in needed]
    return akida.Model.from_dict({**described, "layers": entries})


def forward(described: Mapping[str, Any], names: Sequence[str], given: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """What the layers called `names`, each reading the one before, make of the first one's inputs.

    `described`: the whole model, by `akida.Model.to_dict`; `given`: integers (N, height, width, channels), one for each
    tensor that the first layer reads, in its order. Floats if the last layer is a Dequantizer, else integers.
    Raises ValueError or RuntimeError if akida refuses the layer or the shapes.
    """
    import akida
    import numpy as np

    entries = {entry["name"]: entry for entry in described["layers"]}
    first = entries[names[0]]
    x = np.ascontiguousarray(np.concatenate(given, axis=-1))
    if _type(first) == "InputConv2D":
        front: dict[str, Any] = {**described, "layers": []}
        sources: list[str] = []
    else:
        front, sources = _inputs(x.shape[1:], [value.shape[-1] for value in given])
    chain, inbounds = [], sources
    for name in names:
        chain.append({**entries[name], "inbounds": inbounds})
        inbounds = [name]
    model = akida.Model.from_dict({**front, "layers": [*front["layers"], *chain]})
    dequantized = _type(entries[names[-1]]) == "Dequantizer"
    made: NDArray[Any] = model.predict(x) if dequantized else model.forward(x)
    return made


def _type(entry: Mapping[str, Any]) -> str:
    return str(entry["parameters"]["layer_type"])


def _inputs(shape: tuple[int, ...], channels: Sequence[int]) -> tuple[dict[str, Any], list[str]]:
    """A model that gives the parts of its input, and the names of the layers that do."""
    import akida
    import numpy as np

    front: runtime.AkidaModel = akida.Model()
    front.add(akida.InputData(input_shape=shape, input_bits=8, name=JOINED))
    described: dict[str, Any] = front.to_dict()
    if len(channels) == 1:
        return described, [JOINED]
    entries, start = list(described["layers"]), 0
    for index, count in enumerate(channels):
        picking: runtime.AkidaModel = akida.Model.from_dict(described)
        none = akida.ActivationType.NoActivation
        picking.add(akida.Conv2D(filters=count, kernel_size=1, activation=none, name=f"{JOINED}.{index}"))
        # its scales are one and its shifts zero as akida makes it
        picking.layers[-1].set_variable(
            "weights", np.eye(shape[-1], dtype=np.int8)[:, start : start + count][None, None]
        )
        entries.append(picking.to_dict()["layers"][-1])
        start += count
    return {**described, "layers": entries}, [entry["name"] for entry in entries[1:]]
