# environment: onnx
"""What a form cannot do is said in the comparison, and what another kind of form can is used as OnnxForm's is."""

from __future__ import annotations

from typing import Any

import numpy as np

from recast.stages.parity.comparison import Conversion, compare, measure
from recast.stages.parity.forms.form import Given, NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.metrics import Kind
from tests.lib.onnx_models import CONTRACT, cnn, images

X = CONTRACT.normalise(images(8, 0)[0])


class Runs(OnnxForm):
    """Counts how often it is run from end to end."""

    count = 0

    def values(self, x: Any) -> Any:
        self.count += len(x) > 1
        return super().values(x)


class OfHundredths(OnnxForm):
    """Holds every value in hundredths, and knows it."""

    def held(self, given: Given) -> Any:
        return {name: np.round(value * 100).astype(value.dtype) / np.float32(100) for name, value in given.items()}

    def steps_apart(self, tensor: str, expected: Any, made: Any) -> float | None:
        return float(np.abs(expected - made).max() * 100)


class Mute(OnnxForm):
    """Can do nothing but show its tensors."""

    def alone(self, x: Any, given: Given) -> Any:
        return None


class WithoutSteps(OnnxForm):
    """Runs layers alone, and knows nothing of integers."""

    def held(self, given: Given) -> Any:
        return None

    def steps_apart(self, tensor: str, expected: Any, made: Any) -> float | None:
        return None

    def output_given(self, x: Any, tensor: str, value: Any) -> Any:
        return None


def compared(before: type[OnnxForm], after: type[OnnxForm], kind: Kind) -> Conversion:
    forms = (before(cnn(), 1, "the one"), after(cnn(), 1, "the other"))
    return compare(NamedForm("one", forms[0], "float"), NamedForm("other", forms[1], kind), X, {})


def test_a_form_that_can_do_all_needs_no_word() -> None:
    assert compared(OnnxForm, OfHundredths, "same").note == ""
    assert compared(OnnxForm, OnnxForm, "int8").note == ""


def test_the_earlier_layers_are_given_what_the_later_form_holds_whatever_kind_of_form_that_is() -> None:
    for layer in compared(OnnxForm, OfHundredths, "int8").layers[1:]:
        # this form's own layers compute from values that are not rounded, so the rounding of its inputs shows
        assert layer.alone is not None and 20 < layer.alone.sqnr_db < 80


def test_errors_are_counted_in_steps_by_any_form_that_knows_them() -> None:
    assert all(layer.steps is not None for layer in compared(OnnxForm, OfHundredths, "same").layers)


def test_what_a_form_cannot_do_is_said() -> None:
    assert compared(OnnxForm, Mute, "int8").note == (
        "the other model's layers cannot be run alone, so their errors count from the input on"
    )
    assert compared(OnnxForm, WithoutSteps, "same").note == (
        "the other model does not tell how it holds values, so the rounding of a layer's inputs in the other model "
        "counts for the layer that reads them; the other model does not tell the step of its integers, so no error is "
        "counted in steps"
    )
    assert compared(Mute, OfHundredths, "int8").note.startswith(
        "the one model's layers cannot be run alone, so the rounding of a layer's inputs"
    )
    assert compared(WithoutSteps, OnnxForm, "int8").note == (
        "what each layer costs the output is not known, since the one model cannot be run with one tensor replaced"
    )


def test_a_chain_runs_each_form_once_and_hands_on_what_it_gave() -> None:
    forms = [Runs(cnn(), 1, name) for name in ("a", "b", "c")]
    chain = [NamedForm(form.what, form, "int8") for form in forms]
    found = measure(chain, X, {})
    assert [(one.before, one.after) for one in found.conversions] == [("a", "b"), ("b", "c")]
    assert [form.count for form in forms] == [1, 1, 1]
    for form in forms:
        np.testing.assert_array_equal(found.outputs[form.what], form.values(X)["scores"])


def test_a_form_of_fewer_samples_is_compared_on_those() -> None:
    forms = [Runs(cnn(), 1, name) for name in ("a", "b", "c")]
    chain = [NamedForm(form.what, form, "int8", samples=3 if form.what == "c" else None) for form in forms]
    found = measure(chain, X, {})
    assert [one.samples for one in found.conversions] == [8, 3]
    assert [len(found.outputs[name]) for name in "abc"] == [8, 8, 3]
