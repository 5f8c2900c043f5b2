"""Compare each form of a model with the one before: PyTorch, exported, simplified, prepared, quantized, emitted.

What makes a form of the one before is a conversion. `verify` compares them all and has `report` write what it
found, which `recast blame` shows. What the numbers mean is said in `metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from recast.stages.base import StageError
from recast.stages.common.samples import Taken
from recast.stages.parity import attribution, tensor_matching
from recast.stages.parity.forms import pytorch_form
from recast.stages.parity.forms.form import Arrays, Form, NamedForm
from recast.stages.parity.metrics import (
    RIGHT_DB,
    Agree,
    Difference,
    Kind,
    LayerError,
    difference,
    first_jump,
    of_outputs,
    rms,
)

if TYPE_CHECKING:
    pass

MOST_BYTES = 512 * 2**20
"""of one form's activations at once; fewer samples are compared if they would be more"""


@dataclass(frozen=True)
class Conversion:
    """Two neighbouring forms compared."""

    before: str
    after: str
    kind: Kind
    samples: int
    output: Difference
    agreement: float | None
    """as the task has it; None where no task was told, or the outputs have not one shape"""
    layers: list[LayerError]
    blamed: LayerError | None
    note: str = ""
    """what could not be found out, and why; why a layer that is blamed is no fault all the same"""
    only: attribution.Costs = field(default_factory=dict)
    runs: tuple[str, str] = ("", "")
    """how the values of the two forms come about"""
    remainder: Difference | None = None
    """of the scores that `verify` measured, from the output of the layers as they are shown; None if none were given"""

    @property
    def title(self) -> str:
        """`prepared → quantized`."""
        return f"{self.before} → {self.after}"

    @property
    def accounted(self) -> bool:
        """Whether the layers shown give what the whole gave, but for rounding."""
        return self.remainder is None or self.remainder.sqnr_db >= RIGHT_DB


@dataclass(frozen=True)
class Comparison:
    """Every conversion of a chain of forms, and what each form gave as its output."""

    conversions: list[Conversion]
    outputs: Mapping[str, Taken]
    """form -> its output, or outputs, for the first samples, as many as it was compared on; not PyTorch's, whose
    samples are others
    """


def compare(
    before: NamedForm,
    after: NamedForm,
    x: Taken,
    names: Mapping[str, str],
    folded: Mapping[str, tuple[str, ...]] | None = None,
    scores: Taken | None = None,
    agree: Agree | None = None,
) -> Conversion:
    """Compare two forms on samples (N, *shape); `names`: tensor -> layer. Layers are those that both show.

    `folded`: tensor -> layers that the form before has folded into the one that gives it. `scores`: what the later form
    was measured to give for the samples, as a whole and without a look at its layers.
    """
    return _compared(before, after, x, names, folded or {}, scores, before.form.values(x), agree)[0]


def measure(
    forms: Sequence[NamedForm],
    x: Taken,
    names: Mapping[str, str],
    export: Path | None = None,
    scores: Taken | None = None,
    agree: Agree | None = None,
) -> Comparison:
    """Each form against the one before; PyTorch's record, if `export` has one, against the first.

    `scores`: of x, as measured of the last form; `agree`: the task's.
    """
    conversions: list[Conversion] = []
    record = pytorch_form.read(export) if export is not None else None
    if record is not None:
        pytorch = NamedForm("pytorch", record[0], "float")
        conversions.append(compare(pytorch, forms[0], record[1], names, record[0].folded, agree=agree))
    count = _affordable(forms[0].form, x)
    outputs: dict[str, Taken] = {}
    values: Arrays = {}
    seen = 0
    for before, after in pairwise(forms):
        folded = {layer.tensor: layer.covers for layer in conversions[-1].layers} if conversions else {}
        few = min(count, before.samples or count, after.samples or count)
        # what the form before gave when it was the later one is not computed again
        reference = values if few == seen else before.form.values(x[:few])
        outputs.setdefault(before.name, before.form.ends(reference))
        measured = scores[:few] if scores is not None and after is forms[-1] else None
        conversion, values = _compared(before, after, x[:few], names, folded, measured, reference, agree)
        conversions.append(conversion)
        seen, outputs[after.name] = few, after.form.ends(values)
    return Comparison(conversions, outputs)


def _compared(
    before: NamedForm,
    after: NamedForm,
    x: Taken,
    names: Mapping[str, str],
    folded: Mapping[str, tuple[str, ...]],
    scores: Taken | None,
    reference: Arrays,
    agree: Agree | None,
) -> tuple[Conversion, Arrays]:
    """As `compare`, and the later form's values; `reference`: the earlier form's."""
    notes = _name_alike(before, after, x, reference)
    candidate = after.form.values(x)
    after.form.forget()
    common = [name for name in candidate if name in reference and reference[name].shape == candidate[name].shape]
    alone = attribution.run_alone(before, after, x, reference, {name: reference[name] for name in common})
    layers = _layers(before, after, common, (reference, candidate), alone, names, folded)
    expected, joined = before.form.ends(reference), after.form.ends(candidate)
    # where layers are shown, the output may be that of a stand-in that shows them
    emitted = scores if scores is not None and len(layers) > 1 else joined
    end = of_outputs(expected, emitted)
    only, unknown = attribution.costs(before, x, reference, alone, layers, agree) if after.kind == "int8" else ({}, "")
    # the output alone says that there is an error, not where
    blamed = first_jump(layers, after.kind, end) if len(layers) > 1 else None
    allowed = after.may_differ if blamed is not None else ""
    notes = [*notes, *alone.notes, unknown, *_unknown_of(after, layers, alone), allowed]
    conversion = Conversion(
        before=before.name,
        after=after.name,
        kind=after.kind,
        samples=len(x),
        output=end,
        agreement=agree(expected, emitted) if agree is not None and set(before.form.outputs) <= set(common) else None,
        layers=layers,
        blamed=blamed,
        note="; ".join(dict.fromkeys(note for note in notes if note)),
        only=only,
        runs=(before.form.runs, after.form.runs),
        remainder=of_outputs(joined, scores) if scores is not None else None,
    )
    return conversion, candidate


def _name_alike(before: NamedForm, after: NamedForm, x: Taken, reference: Arrays) -> list[str]:
    """Have the later form call its tensors as the earlier one calls those of the same meaning; what kept it from that.

    A tensor that bears one name in the files of both is called in the later one as it is in the earlier.
    """
    for own, name in zip(after.form.outputs, before.form.outputs, strict=True):
        if own != name:
            after.form.rename({own: name})
    shown, renamed = after.form.tensors, after.form.called.values()
    after.form.rename(
        {
            name: called
            for name, called in before.form.called.items()
            if name in shown and name not in renamed and called not in shown
        }
    )
    try:
        if after.kind == "float":
            tensor_matching.rename(reference, x, before.form, after.form, after.name)
    except StageError as error:  # the comparison end to end is worth having without
        return [error.message]
    return []


def _layers(
    before: NamedForm,
    after: NamedForm,
    common: Sequence[str],
    values: tuple[Arrays, Arrays],
    alone: attribution.Alone,
    names: Mapping[str, str],
    folded: Mapping[str, tuple[str, ...]],
) -> list[LayerError]:
    """Every layer that both show, in running order; `values`: of the earlier form and of the later one."""
    reference, candidate = values
    layers = []
    for name in common:
        sources, operations = after.form.inputs_of(name, common)
        inputs = [one for one in sources if one != name]
        least = 1e-4 * max((rms(reference[one]) for one in inputs), default=0.0)
        ends = [difference(reference[one], candidate[one]) for one in inputs]
        own = alone.made.get(name) if alone.made is not None else None
        if own is None and not inputs and alone.made is not None:
            # the input, which no layer makes: it is shown if it was prepared in another way
            own = candidate[name]
            if (own == reference[name]).all():
                continue
        own = own if own is not None and own.shape == reference[name].shape else None
        expected, noise = alone.expected[name], alone.noise.get(name)
        layers.append(
            LayerError(
                layer=names.get(name, name),
                tensor=name,
                operation="+".join(dict.fromkeys(operations)) or "input",
                covers=attribution.covered(name, before.form, common, names, folded),
                inputs=tuple(inputs),
                before=min(ends, key=lambda one: one.sqnr_db) if ends else None,
                after=difference(reference[name], candidate[name], least),
                alone=difference(expected, own, least) if own is not None else None,
                noise_db=difference(own, noise, least).sqnr_db if own is not None and noise is not None else None,
                # the same integers on another runtime
                steps=after.form.steps_apart(name, expected, own) if own is not None and after.kind == "same" else None,
            )
        )
    return layers


def _unknown_of(after: NamedForm, layers: Sequence[LayerError], alone: attribution.Alone) -> list[str]:
    """What is not known of some of the layers, or of all, though others show it; nothing where none are shown."""
    if alone.made is None or len(layers) < 2:
        return []
    said = []
    lacking = [layer.title for layer in layers if layer.alone is None]
    if lacking:
        said.append(f"of the {after.name} model, these cannot be run alone: {', '.join(lacking)}")
    if after.kind == "same" and all(layer.steps is None for layer in layers):
        said.append(f"the {after.name} model does not tell the step of its integers, so no error is counted in steps")
    return said


def _affordable(form: Form, x: Taken) -> int:
    """How many of the samples to compare, so that one form's activations stay below MOST_BYTES."""
    each = sum(value.nbytes for value in form.values(x[:1]).values())
    return max(1, min(len(x), MOST_BYTES // max(each, 1)))
