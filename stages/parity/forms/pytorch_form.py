"""PyTorch's own activations, as `export` recorded them: the first form of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recast.stages.common import reference, samples
from recast.stages.common.onnx_models import onnx_files
from recast.stages.common.samples import Taken
from recast.stages.parity import activations, layer_names
from recast.stages.parity.forms.form import Arrays, Form


class Recorded(Form):
    """PyTorch's activations on the reference samples, by the ONNX tensors' names. A record cannot be run."""

    runs = "PyTorch, as export recorded it"

    def __init__(self, values: Arrays, outputs: Sequence[str], folded: Mapping[str, tuple[str, ...]]) -> None:
        """`values` in running order, inputs first; `folded`: tensor -> layers right before it that have none."""
        self._values, self._outputs, self.folded = values, list(outputs), folded
        self.output = self._outputs[0]

    @property
    def outputs(self) -> list[str]:
        """The ONNX model's names of the outputs."""
        return self._outputs

    @property
    def tensors(self) -> list[str]:
        """Names of the tensors that are recorded."""
        return list(self._values)

    def values(self, x: Taken) -> Arrays:
        """What was recorded: it is for the recorded samples only."""
        return self._values

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """Not known."""
        return [], []

    def rename(self, names: Mapping[str, str]) -> None:
        """A record is the first form."""
        raise NotImplementedError


def read(export: Path) -> tuple[Recorded, Any] | None:
    """PyTorch's activations and the samples they are of; None if `export` wrote none, as an imported model's."""
    path = export / "activations.safetensors"
    if not path.is_file():
        return None
    sampled = activations.read(path)
    names = layer_names.read(export / layer_names.FILE)
    model = onnx_files.read_model(export / "model.onnx")
    given, made = reference.read(export / reference.FILE)
    count = next(len(value) for name, value in sampled.tensors.items() if name.startswith(f"{activations.MODEL}.in."))
    outputs = {tensor: sampled.tensors.get(f"{layer}.out.0") for tensor, layer in names.items()}
    values = {tensor: value for tensor, value in outputs.items() if value is not None}
    inputs, ends = ([port.name for port in of(model)] for of in (onnx_files.inputs_of, onnx_files.outputs_of))
    x = given[:count]
    values = {**samples.named(x, inputs), **values, **samples.named(made[:count], ends)}
    return Recorded(values, ends, _folded(sampled, names)), x


def _folded(sampled: activations.Sampled, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Tensor -> the layers right before its own that no tensor stands for: the exporter has fused them with it."""
    tensors = {layer: tensor for tensor, layer in names.items()}
    all_names = [layer.name for layer in sampled.layers]
    folded: dict[str, tuple[str, ...]] = {}
    waiting: list[str] = []
    for name in all_names:
        if name in tensors:
            folded[tensors[name]] = tuple(waiting)
            waiting = []
            continue
        block = name == activations.MODEL or any(other.startswith(f"{name}.") for other in all_names)
        before, after = (sampled.tensors.get(f"{name}.{part}.0") for part in ("in", "out"))
        # Dropout, and whatever else changes nothing, is not there to be fused
        idle = (
            before is not None and after is not None and before.shape == after.shape and bool((before == after).all())
        )
        if not block and not idle:
            waiting.append(name)
    return folded
