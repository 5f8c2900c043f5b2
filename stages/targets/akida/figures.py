"""What a model takes of a device it is mapped on, in the numbers a device is planned with, as akida states them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from recast.stages.targets.akida import mapping, runtime

INPUT_UNIT = "HRC"
"""akida's name for the unit that runs the convolution of the input; it is none of the neural processors"""


@dataclass(frozen=True)
class LayerFigures:
    """Of one layer, wherever it runs but for `components`."""

    macs: int
    """multiplications of one inference, zeros included"""
    weight_bytes: int
    components: dict[str, int]
    """type of a component of the device -> how many of them the layer takes; empty in software"""


@dataclass(frozen=True)
class DeviceFigures:
    """Of a whole model on one device."""

    layers_in_hardware: int
    layers_in_software: int
    """but for the input's quantizer, which is always there"""
    device_nps: int
    """neural processors of the device, four to a node"""
    nps: int
    """neural processors that run it, the input's unit not counted: those of all passes"""
    skip_dmas: int
    """channels that hand a layer's output past others"""
    sequences: int
    """runs of layers on one side: between two of them the host moves data"""
    passes: int
    """times that the device is set up anew for an inference: one for each hardware sequence unless it is too small"""
    program_bytes: int
    """what the device is programmed with"""
    external_memory_bytes: int
    """of weights that are kept outside of the device's own memory"""
    np_input_bytes: int
    """the most that one neural processor holds of inputs; akida's `compute_minimal_memory`"""
    np_weight_bytes: int
    """the most that one holds of weights; likewise"""

    def as_json(self) -> dict[str, int]:
        """Figure -> value."""
        return asdict(self)


def of_layer(layer: Any) -> LayerFigures:
    """The figures of a layer of a mapped model."""
    weights = [layer.get_variable(name) for name in layer.get_variable_names() if name.startswith("weights")]
    return LayerFigures(int(layer.macs), sum(int(one.nbytes) for one in weights), _components(layer))


def of_device(model: runtime.AkidaModel) -> DeviceFigures:
    """The figures of a mapped model."""
    import akida

    programs = [sequence for sequence in model.sequences if sequence.program is not None]
    # compute_minimal_memory asserts that something is mapped; the rest of what it gives is of Akida Pico
    memory = akida.compute_minimal_memory(model)[:2] if programs else (0, 0)
    components: Counter[str] = Counter()
    for layer in model.layers:
        components.update(_components(layer))
    loads, stores = (components.pop(name, 0) for name in ("SKIP_DMA_LOAD", "SKIP_DMA_STORE"))
    return DeviceFigures(
        layers_in_hardware=len(mapping.in_hardware(model)),
        layers_in_software=len(mapping.in_software(model)),
        device_nps=len(model.device.mesh.nps) if model.device is not None else 0,
        nps=sum(count for kind, count in components.items() if kind != INPUT_UNIT),
        skip_dmas=max(loads, stores),
        sequences=len(model.sequences),
        passes=sum(len(sequence.passes) for sequence in programs),
        program_bytes=sum(len(sequence.program) for sequence in programs),
        external_memory_bytes=int(model.external_memory_size) if programs else 0,
        np_input_bytes=int(memory[0]),
        np_weight_bytes=int(memory[1]),
    )


LARGEST = ("device_nps", "nps", "skip_dmas", "np_input_bytes", "np_weight_bytes")
"""figures of which several models, run one after the other, need the largest; of all others they need the sum"""


def joined(of: Sequence[DeviceFigures]) -> DeviceFigures:
    """Of models that a device runs one after the other."""
    each = [one.as_json() for one in of]
    return DeviceFigures(**{name: (max if name in LARGEST else sum)(one[name] for one in each) for name in each[0]})


def parts(device: Any) -> dict[str, Any]:
    """What an `akida.Device` is made of: neural processors by what they can be, and the memory two of them share."""
    mesh = device.mesh
    kinds = Counter(kind.name for one in mesh.nps for kind in one.types)
    return {
        "nps": len(mesh.nps),
        **dict(sorted(kinds.items())),
        "skip_dma_channels": sum(one.ident.channel for one in mesh.skip_dmas),
        "hrc": mesh.hrc is not None,
        "sram_input_bytes": mesh.np_sram_size.input_bytes,
        "sram_weight_bytes": mesh.np_sram_size.weight_bytes,
    }


def _components(layer: Any) -> dict[str, int]:
    mapped = layer.mapping
    if mapped is None:
        return {}
    found = Counter(one.type.name for part in (mapped.nps, mapped.skipdma_loads, mapped.skipdma_stores) for one in part)
    return dict(sorted(found.items()))
