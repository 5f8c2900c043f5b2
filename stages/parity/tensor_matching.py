"""Find which tensor of a float model is which of the form before it, through renaming, fusing and faults."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from recast.stages.common.samples import Taken
from recast.stages.parity import layer_names
from recast.stages.parity.forms.form import Arrays, Form
from recast.stages.parity.metrics import difference, rms

if TYPE_CHECKING:
    from numpy.typing import NDArray

AUTOMATIC_NAMES = ("val_",)
"""tensors that tools merely number: an equal name in two forms means nothing"""
MOST_ROUNDS = 16
"""of finding out what tensors mean; each makes the inputs of some layers right, whose outputs are then recognised"""


def rename(reference: Arrays, x: Taken, before: Form, form: Form, what: str) -> None:
    """Have a float tool's tensors called as the form before calls those of the same meaning.

    A name is no proof: a tool that fuses a convolution with its normalisation gives the name of the one to the value
    of the other, and numbers its own tensors as others do. So a tensor goes by the name whose value it has when
    it is made from the reference's values; and, where a fault leaves it with no known value, by the name of
    what the layers behind it read in the form before.
    """
    certain: set[str] = set()
    guessed: set[str] = set()
    for _ in range(MOST_ROUNDS):
        shown = form.tensors
        given = {name: value for name, value in reference.items() if name in shown}
        own = form.alone(x, {**given})
        if own is None:
            return
        values = form.values(x)
        renamed: dict[str, str] = {}
        free = [name for name in reference if name not in shown]
        for name in [one for one in shown if one in values and one not in form.outputs]:
            value = own.get(name, values[name])
            if name in reference and _alike(reference[name], value):
                certain.add(name)
                continue
            found = next((one for one in free if _alike(reference[one], value)), None)
            if found is not None:
                renamed[name] = found
                certain.add(found)
                free.remove(found)
            elif any(_alike(one, value) for one in reference.values()):
                certain.add(name)  # a copy, which some tools make: it stands for nothing else
        # one guess at a time: with it, the layer behind is given the right input, and recognised by its value
        if not renamed:
            renamed = _by_a_reader(reference, before, form, certain | guessed)
            guessed.update(renamed.values())
        if not renamed:
            break
        form.rename(renamed)
    automatic = [name for name in form.tensors if name.startswith(AUTOMATIC_NAMES) and name in reference]
    values = form.values(x)
    # one that is no float, here or there, means something else too
    different = [one for one in automatic if one not in values or not _alike(reference[one], values[one])]
    form.rename({one: f"{one} ({what})" for one in different})


def _by_a_reader(reference: Arrays, before: Form, after: Form, certain: Collection[str]) -> dict[str, str]:
    """The first tensor, of those that are not certain, whose reader tells what it stands for; empty if there is none.

    It does where it reads one thing here that it does not in the form before, and the other way round.
    """
    shown = [name for name in after.tensors if name in reference]
    order = list(reference)
    # one that is itself right was given the right input
    for reader in [one for one in shown if one not in certain]:
        here, _ = after.inputs_of(reader, after.tensors)
        there, _ = before.inputs_of(reader, order)
        odd = [one for one in here if one not in there]
        lacking = [one for one in there if one not in here and one not in shown]
        # only where there is no choice
        if len(odd) == len(lacking) == 1 and odd[0] not in certain and odd[0] not in after.outputs:
            return {odd[0]: lacking[0]}
    return {}


def _alike(expected: NDArray[Any], value: NDArray[Any]) -> bool:
    # zeros are like any other zeros, which is no evidence
    return (
        expected.shape == value.shape and rms(value) > 0 and difference(expected, value).sqnr_db >= layer_names.EQUAL_DB
    )
