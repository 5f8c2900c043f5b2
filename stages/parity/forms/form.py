"""A form of the model: PyTorch's, exported, simplified, prepared, quantized, emitted. What each must show, and may.

A conversion makes a form of the one before; `comparison` compares the two. Beyond its values, a form may be able to do
more. Each such ability is a method that answers None where a form has it not, and the report says what was lost by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recast.stages.common import samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recast.stages.parity.metrics import Kind

Arrays = dict[str, "NDArray[Any]"]
Given = Mapping[str, "NDArray[Any]"]


class Form(ABC):
    """One form of the model, whose activations can be had as floats under the exported model's tensor names."""

    output: str
    """the first of the outputs"""
    runs: str
    """how the values that are compared come about: what is run, and what is simulated"""

    @property
    def outputs(self) -> list[str]:
        """The model's outputs, in its order."""
        return [self.output]

    def ends(self, values: Given) -> Any:
        """Of the values of a run, the output; or Samples of several."""
        return samples.of({name: values[name] for name in self.outputs})

    @property
    @abstractmethod
    def tensors(self) -> list[str]:
        """What can be looked at, in running order."""

    @abstractmethod
    def values(self, x: Any) -> Arrays:
        """Activations for normalised samples (N, *shape) of every input, the outputs among them."""

    @abstractmethod
    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """Tensors in `shown` that the layer of `tensor` reads, and its operations; empty where that is not known."""

    @abstractmethod
    def rename(self, names: Mapping[str, str]) -> None:
        """Call tensors as the form before calls them."""

    @property
    def called(self) -> Mapping[str, str]:
        """What tensors are called, by their names in the form's own file, as far as those differ."""
        return {}

    def forget(self) -> None:  # noqa: B027 - most forms keep nothing
        """Let go of values that were kept in case they are asked for again."""

    def alone(self, x: Any, given: Given) -> Arrays | None:
        """Each tensor in `given`, made from the given values of its inputs; None if no layer can be run alone."""
        return None

    def held(self, given: Given) -> Arrays | None:
        """The values as the form holds them, rounded and cut where it holds integers; None if that is not known."""
        return None

    def output_given(self, x: Any, tensor: str, value: NDArray[Any]) -> Any:
        """The output, or outputs, when one tensor has this value instead of its own; None if none can be replaced."""
        return None

    def steps_apart(self, tensor: str, expected: NDArray[Any], made: NDArray[Any]) -> float | None:
        """The largest difference of a tensor's values, in steps of its integers; None if it has no known step."""
        return None


class Names:
    """What the tensors of a form's own file are called: as there, until the form before calls them otherwise."""

    def __init__(self, called: Mapping[str, str] | None = None) -> None:
        """`called`: own name -> what it is called."""
        self._called = dict(called or {})

    def of(self, own: str) -> str:
        """What the tensor is called."""
        return self._called.get(own, own)

    def own(self, called: str) -> str:
        """The tensor's name in the form's own file."""
        return next((own for own, other in self._called.items() if other == called), called)

    def rename(self, names: Mapping[str, str]) -> None:
        """`names`: what a tensor is called now -> what it is to be called."""
        originals = {called: own for own, called in self._called.items()}
        self._called |= {originals.get(before, before): after for before, after in names.items()}

    @property
    def changed(self) -> dict[str, str]:
        """What tensors are called, by their own names, as far as those differ."""
        return {own: called for own, called in self._called.items() if own != called}


@dataclass(frozen=True)
class NamedForm:
    """A form as it stands in the chain: what reports call it, and what the conversion to it may have changed."""

    name: str
    form: Form
    kind: Kind
    samples: int | None = None
    """the most samples the form can be compared on; None for any number"""
    may_differ: str = ""
    """why a conversion of kind "same" was allowed to change the function all the same; empty if it was not"""


class OutputOnly(Form):
    """A runtime that shows nothing but the model's outputs."""

    def __init__(self, predict: Callable[[Any], Any], output: str | Sequence[str], runs: str) -> None:
        """`predict` takes normalised samples (N, *shape) and gives `output`, or outputs; `runs` says what it runs."""
        self._outputs = [output] if isinstance(output, str) else list(output)
        self._predict, self.output, self.runs = predict, self._outputs[0], runs

    @property
    def outputs(self) -> list[str]:
        """Their names."""
        return self._outputs

    @property
    def tensors(self) -> list[str]:
        """The outputs alone."""
        return self._outputs

    def values(self, x: Any) -> Arrays:
        """The outputs."""
        return samples.named(self._predict(x), self._outputs)

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """Everything that is shown lies before the output."""
        return [one for one in shown if one not in self._outputs][-1:], []

    def rename(self, names: Mapping[str, str]) -> None:
        """The outputs are the only tensors."""
