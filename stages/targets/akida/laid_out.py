"""A form of a lowered model, shown with the axes that the user's model has: signals, and the output as it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recast.stages.parity.forms.form import Arrays, Form, Given
from recast.stages.targets.akida import layout as layouts

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LaidOutForm(Form):
    """Another form, whose output is followed by the layout's last steps, and whose maps of height 1 are signals."""

    def __init__(self, inner: Form, layout: layouts.Layout) -> None:
        """`inner` lays its samples out itself."""
        self._inner, self._layout = inner, layout
        self.runs = inner.runs
        self.output = layout.output if layout.finish else inner.output

    @property
    def tensors(self) -> list[str]:
        """Those of the form, and the output."""
        return [*self._inner.tensors, *([self.output] if self._layout.finish else [])]

    @property
    def called(self) -> Mapping[str, str]:
        """As the form has it."""
        return self._inner.called

    def values(self, x: NDArray[Any]) -> Arrays:
        """As the user's model lays them out."""
        return self._shown(self._inner.values(x))

    def alone(self, x: NDArray[Any], given: Given) -> Arrays | None:
        """As the form makes them; the output of what is given of the last layer."""
        found = self._inner.alone(x, self._taken(given))
        if found is None:
            return None
        shown = {name: self._signal(value) for name, value in found.items()}
        end = self._inner.output
        if self._layout.finish and self.output in given and end in given:
            shown[self.output] = self._finished(self._map(given[end]))
        return shown

    def held(self, given: Given) -> Arrays | None:
        """As the form holds them."""
        held = self._inner.held(self._taken(given))
        if held is None:
            return None
        shown = {name: self._signal(value) for name, value in held.items()}
        return {**shown, **({self.output: given[self.output]} if self._is_own(given) else {})}

    def output_given(self, x: NDArray[Any], tensor: str, value: NDArray[Any]) -> NDArray[Any] | None:
        """The output as the user's model gives it."""
        if tensor == self.output:
            return value
        made = self._inner.output_given(x, tensor, self._map(value))
        return None if made is None else self._finished(made)

    def steps_apart(self, tensor: str, expected: NDArray[Any], made: NDArray[Any]) -> float | None:
        """As the form counts them; none of what only moves values."""
        if self._layout.finish and tensor == self.output:
            return None
        return self._inner.steps_apart(tensor, self._map(expected), self._map(made))

    def inputs_of(self, tensor: str, shown: Sequence[str]) -> tuple[list[str], list[str]]:
        """The output reads what the last layer gives."""
        inner = [name for name in shown if name != self.output or not self._layout.finish]
        if self._layout.finish and tensor == self.output:
            end = self._inner.output
            return ([end], ["Reshape"]) if end in shown else self._inner.inputs_of(end, inner)
        return self._inner.inputs_of(tensor, inner)

    def rename(self, names: Mapping[str, str]) -> None:
        """The output is the form's own only where nothing follows it."""
        if not self._layout.finish:
            self._inner.rename(names)
            self.output = self._inner.output
            return
        self._inner.rename({name: called for name, called in names.items() if name != self.output})
        self.output = names.get(self.output, self.output)

    def forget(self) -> None:
        """As the form does."""
        self._inner.forget()

    def _is_own(self, given: Given) -> bool:
        return bool(self._layout.finish) and self.output in given

    def _taken(self, given: Given) -> Arrays:
        return {name: self._map(value) for name, value in given.items() if not self._is_own({name: value})}

    def _shown(self, values: Arrays) -> Arrays:
        shown = {name: self._signal(value) for name, value in values.items()}
        if self._layout.finish:
            shown[self.output] = self._finished(values[self._inner.output])
        return shown

    def _finished(self, value: NDArray[Any]) -> NDArray[Any]:
        return layouts.apply(value, self._layout.finish)

    def _signal(self, value: NDArray[Any]) -> NDArray[Any]:
        """(N, C, 1, T) -> (N, C, T), where the model is one of signals."""
        return value[:, :, 0] if self._layout.signals and value.ndim == 4 and value.shape[2] == 1 else value

    def _map(self, value: NDArray[Any]) -> NDArray[Any]:
        """(N, C, T) -> (N, C, 1, T), where the model is one of signals."""
        return value[:, :, None] if self._layout.signals and value.ndim == 3 else value
