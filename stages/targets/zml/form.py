"""The emitted Zig's layers for the comparison of the model's forms: each by the exported model's tensor names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.parity.forms.form import Arrays, Form, Given
from recast.stages.parity.forms.onnx_form import OnnxForm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.parity.activations import Layer, Sampled

OUTPUT = ""
"""what the watched program calls the result of the whole model"""

UNKNOWN = " (zig)"
"""ends the name of a result that no tensor is known to be"""


class ZigForm(Form):
    """The results of the Zig's layers, and of the functions its code calls between them.

    Which tensor of the exported model a result is, follows from PyTorch's names, which both bear. What a layer
    reads is not seen in the Zig: it is what the simplified model's node reads, whose tensors bear the same names.
    """

    runs = "the emitted Zig, compiled against our stand-in for ZML and not ZML itself, on the CPU; its layers likewise"

    def __init__(
        self,
        observe: Callable[[NDArray[Any], Given], Arrays],
        prepare: Callable[[NDArray[Any]], NDArray[Any]],
        graph: OnnxForm,
        layers: Mapping[str, str],
        results: Sequence[str],
    ) -> None:
        """`observe`: see `runtime.observer`; `prepare` makes the model's input of normalised samples.

        `layers`: tensor -> PyTorch's layer; `results`: what the program shows and is to be looked at.
        """
        self._observe, self._prepare, self._graph = observe, prepare, graph
        self.output = graph.output
        tensors = {layer: tensor for tensor, layer in layers.items()}
        self._called: dict[str, str] = {}
        for result in results:
            # a layer before the code inside one, which may bear its name
            layer = _layer_of(result)
            # a constant that would mean something else in Zig has a `_` behind it
            name = tensors.get(layer) or tensors.get(layer.rstrip("_")) or f"{result}{UNKNOWN}"
            if name not in self._called.values() and result != OUTPUT:
                self._called[result] = name

    @property
    def tensors(self) -> list[str]:
        """The model's input, what is looked at, and the output last."""
        inner = [name for name in self._called.values() if name not in (self._graph.inputs[0], self.output)]
        return [self._graph.inputs[0], *inner, self.output]

    def values(self, x: NDArray[Any]) -> Arrays:
        """Every float result with a batch axis, in the order they are made, the model's input first."""
        taken = self._prepare(x)
        found = self._observe(taken, {})
        return {self._graph.inputs[0]: taken, **self._named(found), self.output: found[OUTPUT]}

    def alone(self, x: NDArray[Any], given: Given) -> Arrays:
        """Each tensor in `given` as its layer makes it when all results before it are the given ones."""
        taken = given.get(self._graph.inputs[0])
        replaced = {result: given[name] for result, name in self._called.items() if name in given}
        found = self._observe(self._prepare(x) if taken is None else taken, replaced)
        own = {name: value for name, value in self._named(found).items() if name in given}
        if self.output in given and (self.output not in own or (found[OUTPUT] != given[self.output]).any()):
            # what the code makes of the layer that gives the output, if that is not the end
            own[self.output] = found[OUTPUT]
        return own

    def held(self, given: Given) -> Arrays:
        """As they are: it computes in float32."""
        return dict(given)

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """What the simplified model's layer reads, and its operations."""
        known = set(self._graph.tensors)
        return self._graph.inputs_of(tensor, [name for name in shown if name in known]) if tensor in known else ([], [])

    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""
        # what PyTorch's names say is surer than what a value looks like that a fault may have spoilt
        self._called = {
            result: names.get(name, name) if name.endswith(UNKNOWN) else name for result, name in self._called.items()
        }
        self.output = names.get(self.output, self.output)

    def _named(self, found: Arrays) -> Arrays:
        return {self._called[result]: value for result, value in found.items() if result in self._called}


def shown(results: Sequence[str], emitted: Sequence[Layer], folded: Collection[str]) -> list[str]:
    """Of the program's results, those of layers and of the code between them, layers first.

    Left out are steps inside one layer, and layers with which what followed was folded: PyTorch gives something else.
    """
    scopes = {OUTPUT, *(layer.name.rpartition(".")[0] for layer in emitted)}
    layers = [result for result in results if "/" not in result and result not in folded]
    code = [result for result in results if "/" in result and result.partition("/")[0] in scopes]
    return [*layers, *code]


def folded(emitted: Sampled, exported: Sequence[Layer]) -> set[str]:
    """Layers that another one was folded into: what follows them is an Identity, where PyTorch's own model has none."""
    kinds = {layer.name: layer.kind for layer in exported}
    found: set[str] = set()
    for norm in (layer for layer in emitted.layers if layer.kind == "Identity" and kinds.get(layer.name) != "Identity"):
        read = emitted.tensors[f"{norm.name}.in.0"]
        for layer in emitted.layers:
            given = emitted.tensors.get(f"{layer.name}.out.0")
            if layer.name == norm.name:
                break
            if given is not None and given.shape == read.shape and (given == read).all():
                found.add(layer.name)
    return found


def _layer_of(result: str) -> str:
    """`scope/relu` is the function that the activations call `scope.relu`."""
    return result.replace("/", ".").removeprefix(".")
