"""Which layer an error belongs to: every layer run alone, the layers one stands for, and what each costs the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recast.stages.base import StageError
from recast.stages.common.samples import Taken
from recast.stages.parity.forms.form import Arrays, Form, Given, NamedForm
from recast.stages.parity.metrics import Agree, Difference, LayerError, of_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LAYERS_ALONE_IN_INT8 = 100
MOST_RUNS = 1024
"""of the model on one sample, to find what each layer costs the output; of more, fewer samples are taken"""
ROUNDING = 2.0**-23
"""relative spacing of float32"""


@dataclass(frozen=True)
class Alone:
    """What each layer of the later form makes by itself of the earlier form's values."""

    made: Arrays | None
    """None if its layers cannot be run alone"""
    expected: Arrays
    """what the earlier form's layers make of the same"""
    noise: Arrays = field(default_factory=dict)
    """as `made`, of inputs that are off by a float32 rounding error"""
    notes: tuple[str, ...] = ()
    """why something of this could not be had"""


def run_alone(before: NamedForm, after: NamedForm, x: Taken, reference: Arrays, given: Given) -> Alone:
    """Run every layer alone on normalised samples x; `given`: what of the reference the later form shows as well."""
    noise: Arrays = {}
    try:
        made = after.form.alone(x, given)
        if after.kind == "float" and made is not None:
            noise = after.form.alone(x, {name: _rounded(value) for name, value in given.items()}) or {}
    except StageError as error:  # the comparison end to end is worth having without
        return Alone(None, reference, notes=(error.message,))
    if made is None:
        # a form that shows one tensor shows no layer
        cannot = f"the {after.name} model's layers cannot be run alone, so their errors count from the input on"
        return Alone(None, reference, notes=(cannot,) if len(given) > 1 else ())
    of_held, note = _of_held(before, after, x, given)
    return Alone(made, {**reference, **of_held}, noise, (note,) if note else ())


def _of_held(before: NamedForm, after: NamedForm, x: Taken, given: Given) -> tuple[Arrays, str]:
    """What the earlier form's layers make of the inputs as the later one can hold them, and why that is not known.

    Integers round and cut what they are given; that counts for the layer that made it, not for the one that reads it.
    Both are empty if it holds all as they are.
    """
    lost = f"so the rounding of a layer's inputs in the {after.name} model counts for the layer that reads them"
    held = after.form.held(given)
    if held is None:
        return {}, f"the {after.name} model does not tell how it holds values, {lost}"
    if all(value is given[name] or (value == given[name]).all() for name, value in held.items()):
        return {}, ""
    made = before.form.alone(x, held)
    if made is None:
        return {}, f"the {before.name} model's layers cannot be run alone, {lost}"
    return made, ""


def _rounded(value: NDArray[Any]) -> NDArray[Any]:
    """Every element off by the spacing of float32, up and down in turn; whole numbers as they are."""
    import numpy as np

    if value.dtype.kind != "f":
        return value

    signs = np.where(np.arange(value.size) % 2, 1 + ROUNDING, 1 - ROUNDING).reshape(value.shape)
    return (value * signs).astype(value.dtype)


def covered(
    tensor: str, before: Form, common: Sequence[str], names: Mapping[str, str], folded: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Layers between the tensor and its inputs that the later form does not show, nor maybe the earlier one.

    `common`: tensors that both show; `names`: tensor -> layer; `folded`: tensor -> layers folded into its own.
    """
    order = before.tensors
    hidden: set[str] = set()
    pending = [tensor] if tensor in order else []
    shown = {*common, tensor}
    while pending:
        sources, _ = before.inputs_of(pending.pop(), order)
        fresh = [one for one in sources if one not in shown and one not in hidden]
        hidden.update(fresh)
        pending += fresh
    # a tensor without a layer, in a model that has them, is a step inside one
    layers = [
        [*folded.get(one, ()), names.get(one, one)] for one in order if one in hidden and (one in names or not names)
    ]
    return tuple(dict.fromkeys([*(layer for part in layers for layer in part), *folded.get(tensor, ())]))


Costs = dict[str, tuple[Difference, "float | None"]]
"""tensor -> the output's difference and agreement when this layer alone is as in the later form"""


def costs(
    before: NamedForm,
    x: Taken,
    reference: Arrays,
    alone: Alone,
    layers: Sequence[LayerError],
    agree: Agree | None,
) -> tuple[Costs, str]:
    """What each layer costs the output: the earlier form, with this layer's own error and no other.

    Empty, with the reason, where that cannot be had.
    """
    if alone.made is None:
        return {}, ""  # said already
    if len(layers) > MOST_LAYERS_ALONE_IN_INT8:
        many = f"there are more than {MOST_LAYERS_ALONE_IN_INT8} layers"
        return {}, f"what each layer costs the output was not measured, since {many}"
    few = max(1, min(len(x), MOST_RUNS // max(len(layers), 1)))
    x, output = x[:few], before.form.ends(reference)[:few]
    found: Costs = {}
    for layer in layers:
        value, should = alone.made.get(layer.tensor), reference[layer.tensor]
        if value is None or value.shape != should.shape or should.dtype.kind != "f":
            continue
        replaced = should[:few] + (value[:few] - alone.expected[layer.tensor][:few])
        end = before.form.output_given(x, layer.tensor, replaced.astype(should.dtype))
        if end is None:
            cannot = f"the {before.name} model cannot be run with one tensor replaced"
            return {}, f"what each layer costs the output is not known, since {cannot}"
        found[layer.tensor] = of_outputs(output, end), agree(output, end) if agree is not None else None
    return found, ""
