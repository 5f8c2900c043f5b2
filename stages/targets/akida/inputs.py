"""What the emitted model may take as its input, and which of it brings most layers into hardware.

The kinds of input differ in the first layer: uint8 images go into an input convolution, which feeds one layer only on
the processor; int8 ones into an ordinary convolution, which has none of its limits. What that does to the layers behind
it cannot be told from the graph, so each kind is taken all the way to Akida and mapped on devices, those of
`quantize.devices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recast.stages.base import StageError, progress
from recast.stages.common.onnx_models import onnx_files
from recast.stages.targets.akida import mapping, quantizeml_steps, windows
from recast.stages.targets.akida.devices import VIRTUAL, Device, NoneTakesIt
from recast.stages.targets.akida.integers import Scheme, integer_model

if TYPE_CHECKING:
    from recast.stages.common.dataset import Contract
    from recast.stages.targets.akida.layout import Layout

IMAGE_CHANNELS = (1, 3)  # what the hardware's input convolution takes


@dataclass(frozen=True)
class Wanted:
    """What the recipe says of the scheme, and by which devices the input is chosen where it leaves that open."""

    input: Literal["auto", "stored", "normalised"] = "auto"
    input_type: Literal["auto", "uint8", "int8"] = "auto"
    per_tensor_activations: bool = False
    last_output_bits: int | None = None
    devices: tuple[Device, ...] = VIRTUAL
    way: mapping.Way = mapping.DEFAULT


@dataclass(frozen=True)
class Kind:
    """Samples as stored or normalised, and the integers that the first layer reads."""

    values: quantizeml_steps.Values
    type: quantizeml_steps.IntegerType

    def __str__(self) -> str:
        return f"{self.values} ({self.type})"


@dataclass(frozen=True)
class Tried:
    """One kind of input, taken to Akida: the lowered model, and its layers in software on each device."""

    kind: Kind
    lowered: onnx_files.Model = None
    layers: int = 0
    software: tuple[tuple[str, int | None], ...] = ()
    """(device, layers in software but for the input's quantizer; None where no device takes the whole model)"""
    refusal: StageError | None = None

    @property
    def cost(self) -> int:
        """Layers in software, over all devices; all layers for the smallest where there is none."""
        return sum(self.layers if count is None else count for _, count in self.software)

    @property
    def is_enough(self) -> bool:
        """Whether no other can be better."""
        return self.refusal is None and self.cost == 0

    def as_json(self) -> dict[str, Any]:
        """For scheme.json."""
        told: dict[str, Any] = {"input": self.kind.values, "input_type": self.kind.type}
        if self.refusal is not None:
            return {**told, "refused": self.refusal.message}
        return {**told, "layers": self.layers, "layers_in_software": dict(self.software)}


def choose(tried: Sequence[Tried]) -> Tried:
    """The kind with the fewest layers in software; of equals the first. The first one's refusal if all are refused."""
    possible = [one for one in tried if one.refusal is None]
    if not possible:
        assert tried[0].refusal is not None
        raise tried[0].refusal
    return min(possible, key=lambda one: one.cost)


def attempt(
    kinds: Sequence[Kind],
    model: onnx_files.Model,
    contract: Contract,
    wanted: Wanted,
    threads: int,
    scratch: Path,
) -> list[Tried]:
    """Take each kind of input to Akida, until one has all layers in hardware: the kinds come in order of preference.

    The ranges of activations are made up: what is refused here is refused whatever the samples are. Kinds that the
    first layer rules out are left out; the list is empty if that rules out all.
    """
    tried: list[Tried] = []
    lowered: dict[quantizeml_steps.Values, onnx_files.Model | StageError] = {}
    for index, kind in enumerate(kinds, start=1):
        progress(f"try the input {kind}", index, len(kinds))
        if kind.values not in lowered:
            try:
                lowered[kind.values] = lower(kind.values, model, contract)
            except StageError as error:
                lowered[kind.values] = error
        graph = lowered[kind.values]
        if isinstance(graph, StageError):
            tried.append(Tried(kind, refusal=graph))
            continue
        if kind.type == "uint8" and not starts_with_image_convolution(graph, contract):
            continue
        try:
            one = _taken_to_akida(kind, graph, contract, wanted, threads, scratch)
        except StageError as error:
            one = Tried(kind, refusal=error)
        tried.append(one)
        if one.is_enough:
            break
    return tried


def taken_contract(contract: Contract, layout: Layout) -> Contract:
    """The contract for samples as the lowered model takes them."""
    return replace(contract, inputs=(replace(contract.only, shape=layout.takes),))


def obstacle(contract: Contract) -> str:
    """Why samples cannot be taken as stored, whatever the model is; empty if they can."""
    if contract.stored_dtype != "uint8":
        return f"samples are stored as {contract.stored_dtype}, not uint8"
    if len(contract.shape) != 3 or contract.shape[0] not in IMAGE_CHANNELS:
        return f"samples of shape {contract.shape} are no images of 1 or 3 channels"
    return ""


def starts_with_image_convolution(lowered: onnx_files.Model, contract: Contract) -> bool:
    """Whether the first operation is an ordinary convolution of an image, which takes unsigned inputs."""
    nodes = [node for node in lowered.graph.node if node.op_type != "BRNPad"]
    if len(lowered.graph.node) - len(nodes) > 1 or nodes[0].op_type != "Conv":
        return False
    first = lowered.graph.node[0]
    begins = first.input[0] == lowered.graph.input[0].name and first.op_type in ("BRNPad", "Conv")
    return begins and windows.groups_of(nodes[0]) == 1 and contract.shape[0] in IMAGE_CHANNELS


def lower(values: quantizeml_steps.Values, model: onnx_files.Model, contract: Contract) -> onnx_files.Model:
    """The lowered model, which takes samples stored (as float32) or normalised. StageError if it cannot be lowered."""
    return quantizeml_steps.lower(_with_normalisation(model, contract) if values == "stored" else model, contract.shape)


def _taken_to_akida(
    kind: Kind, lowered: onnx_files.Model, contract: Contract, wanted: Wanted, threads: int, scratch: Path
) -> Tried:
    import numpy as np

    random = np.random.default_rng(0)
    shape = (8, *contract.shape)
    noise = random.uniform(0, 255, shape) if kind.values == "stored" else random.normal(0, 1, shape)
    scheme = Scheme(kind.values, kind.type, wanted.per_tensor_activations, wanted.last_output_bits)
    made, _ = integer_model(lowered, noise, contract, scheme, batch_size=8, threads=threads)
    model = quantizeml_steps.to_akida(made)
    path = scratch / "tried.fbz"
    model.save(str(path))
    software = tuple((str(device), _in_software(path, device, wanted.way)) for device in wanted.devices)
    return Tried(kind, lowered, len(model.layers), software)


def _in_software(path: Path, device: Device, way: mapping.Way) -> int | None:
    try:
        return len(mapping.in_software(mapping.mapped(path, device, way)))
    except NoneTakesIt:
        return None


def _with_normalisation(model: onnx_files.Model, contract: Contract) -> onnx_files.Model:
    """The model with `(stored / divisor - mean) / std` in front, as the scale and offset quantizeml folds."""
    import numpy as np
    import onnx

    std = np.asarray(contract.std, np.float64).reshape(1, -1, 1, 1)
    mean = np.asarray(contract.mean, np.float64).reshape(1, -1, 1, 1)
    copy = type(model)()
    copy.CopyFrom(model)
    name = onnx_files.only_input(model, "the simplified model").name
    scale, offset, scaled, normalised = (f"recast_normalise_{part}" for part in ("scale", "offset", "scaled", "out"))
    for node in copy.graph.node:
        for index, source in enumerate(node.input):
            if source == name:
                node.input[index] = normalised
    front = [
        onnx.helper.make_node("Mul", [name, scale], [scaled], name=scaled),
        onnx.helper.make_node("Add", [scaled, offset], [normalised], name=normalised),
    ]
    nodes = [*front, *copy.graph.node]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(
        onnx.numpy_helper.from_array(value.astype(np.float32), of)
        for of, value in ((scale, 1 / (contract.divisor * std)), (offset, -mean / std))
    )
    return copy
