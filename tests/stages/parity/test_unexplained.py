# environment: onnx
"""What verify measures and the layers do not explain is said, how large it is and between what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.parity import comparison, unexplained
from recast.stages.parity.forms.form import NamedForm
from recast.stages.parity.forms.onnx_form import OnnxForm
from recast.stages.parity.metrics import Difference, Kind, LayerError
from recast.stages.parity.report import REPORT
from tests.lib.contracts import AGREE
from tests.lib.onnx_models import CONTRACT, cnn, images
from tests.stages.parity.test_verify import run

RIGHT = Difference(0.0, 0.0, 200.0, 1.0)


def differs(db: float) -> Difference:
    return Difference(0.25, 10 ** (-db / 20), db, 0.99)


def conversion(kind: Kind, db: float, layers: int = 3, **more: Any) -> comparison.Conversion:
    shown = [
        LayerError(f"l{i}", f"l{i}", "Conv", (), (), None, differs(40 + i), differs(40 + i)) for i in range(layers)
    ]
    return comparison.Conversion(
        "quantized", "emitted", kind, 64, differs(db), more.pop("agreement", 1.0), shown, None, **more
    )


def test_a_step_that_loses_what_it_may_needs_no_word() -> None:
    assert unexplained.losses([conversion("float", 120), conversion("int8", 25), conversion("same", 45)]) == []
    same = unexplained.Measured(64, differs(30), 1.0, 3)
    assert unexplained.remainders([conversion("same", 45, remainder=RIGHT)], same, same, RIGHT) == []


def test_an_output_that_no_layer_explains_is_said() -> None:
    (said,) = unexplained.losses([conversion("same", 22)])
    assert said == (
        "From the quantized to the emitted model the output keeps 22.0 dB (largest error 0.25), though no layer alone "
        "loses as much as a fault would; the most is lost at l0 (40.0 dB), l1 (41.0 dB), l2 (42.0 dB)."
    )
    (said,) = unexplained.losses([conversion("same", 22, layers=1)])
    assert said.endswith("; the emitted model shows no layers, so which one loses it is not known.")
    (said,) = unexplained.losses([conversion("same", 45, agreement=0.95)])
    assert "the output keeps 45.0 dB (largest error 0.25), and the two agree on 95.0% only" in said
    # int8 costs some samples their class, which is no fault
    assert unexplained.losses([conversion("int8", 25, agreement=0.95)]) == []


def test_layers_that_together_give_another_output_are_said() -> None:
    same = unexplained.Measured(64, differs(30), 1.0, 3)
    (said,) = unexplained.remainders([conversion("same", 45, remainder=differs(42))], same, same, RIGHT)
    assert said == (
        "The layers of the emitted model do not account for its output: put together they give one from which that of "
        "the whole model differs by 0.25 at most (42.0 dB)."
    )
    (said,) = unexplained.remainders([conversion("same", 45, remainder=RIGHT)], same, same, differs(60))
    assert said == (
        "The float model's scores as verify measured them differ from those of its layers, run one by one, by 0.25 at "
        "most (60.0 dB)."
    )
    # in a deep model that is rounding
    assert unexplained.remainders([conversion("same", 45, remainder=RIGHT)], same, same, differs(93)) == []


def test_the_samples_with_the_largest_error_are_chosen_or_said() -> None:
    expected = np.zeros((100, 4), np.float32)
    actual = expected.copy()
    actual[3], actual[70] = 0.1, -2.0
    assert unexplained.choose(expected, actual, 8) == [0, 1, 2, 3, 4, 5, 6, 70]
    assert unexplained.choose(expected, actual, 80) == list(range(80))
    assert unexplained.choose(expected, actual, 1) == [0]
    actual[71] = np.nan
    assert unexplained.choose(expected, actual, 8)[-1] == 71
    every = unexplained.measured(expected, np.nan_to_num(actual), range(100), AGREE)
    assert (every.samples, every.worst, every.output.max_abs) == (100, 70, 2.0)
    compared = unexplained.measured(expected, actual, range(4), AGREE)
    assert (compared.samples, compared.worst) == (4, 3)
    (said,) = unexplained.remainders([conversion("same", 45)], compared, every, None)
    assert said == (
        "On all 100 samples the largest error is 2 (sample 70), and on the 4 that were compared layer by layer 0.1: "
        "raise verify.parity_samples to have the others compared too."
    )


def test_verify_ends_with_what_it_measured_though_its_form_shows_another_model(tmp_path: Path) -> None:
    """The form is of the right model, and what is emitted gives other scores: it says so."""
    right = OnnxForm(cnn(), 1, "the emitted model")
    scores = right.values(CONTRACT.normalise(images(64, 0)[0]))["scores"]
    metrics = run(tmp_path, lambda stored: scores[: len(stored)] + 0.5, forms=[NamedForm("emitted", right, "same")])
    report = json.loads((tmp_path / "verify" / REPORT).read_text())
    assert report["cpu"] == metrics["cpu"] and list(report["forms"]) == ["simplified", "emitted"]
    (last,) = report["conversions"]
    assert last["blamed"] is None and all(layer["alone"]["sqnr_db"] == 200 for layer in last["layers"])
    for of in (last["output"], last["remainder"], report["verify"]["compared"], report["verify"]["all"]):
        assert of["max_abs_error"] == pytest.approx(metrics["max_abs_error"], rel=1e-3) == 0.5
    kept, remainder = report["unexplained"]
    assert kept.startswith("From the simplified to the emitted model the output keeps ")
    assert remainder.startswith("The layers of the emitted model do not account for its output: ")
