# environment: serve
from __future__ import annotations

import numpy as np
import pytest

from stages.base import StageError
from stages.dataset import Contract
from stages.serving.model import Answer, ServedModel, Values

CONTRACT = Contract("d", (2, 3), "uint8", 255.0, (0.5, 0.25), (0.5, 0.25), ("a", "b"))
STORED = np.random.default_rng(0).integers(0, 256, (5, 2, 3)).astype(np.uint8)


def model(takes: Values) -> tuple[ServedModel, list[np.ndarray]]:
    seen: list[np.ndarray] = []

    def predict(samples):
        seen.append(samples)
        return np.zeros((len(samples), 2), np.float32)

    return ServedModel(CONTRACT, takes, predict), seen


@pytest.mark.parametrize("values", ["stored", "normalised"])
@pytest.mark.parametrize("takes", ["stored", "normalised"])
def test_the_model_gets_what_it_takes_whatever_was_sent(takes: Values, values: Values) -> None:
    served, seen = model(takes)
    sent = STORED.astype(np.float32) if values == "stored" else CONTRACT.normalise(STORED)
    assert served.answer(sent, values).scores.shape == (5, 2)
    if takes == "stored":
        assert seen[0].dtype == np.uint8 and np.array_equal(seen[0], STORED)
    else:
        assert seen[0].dtype == np.float32 and np.allclose(seen[0], CONTRACT.normalise(STORED), atol=1e-6)


def test_normalised_samples_reach_a_float_model_untouched() -> None:
    served, seen = model("normalised")
    odd = np.full((1, 2, 3), 7.123, np.float32)  # what no pixel would give
    served.answer(odd, "normalised")
    assert np.array_equal(seen[0], odd)


@pytest.mark.parametrize("value", [-1.0, 256.0, 0.5])
def test_stored_values_that_would_wrap_or_be_cut_are_refused(value: float) -> None:
    samples = STORED.astype(np.float32)
    samples[2, 1, 1] = value
    with pytest.raises(StageError, match=f"holds {value:g}, which is no uint8"):
        model("stored")[0].answer(samples, "stored")


def test_normalised_values_out_of_the_stored_range_are_refused_by_a_model_of_integers() -> None:
    with pytest.raises(StageError, match="holds 9, which is no uint8"):
        model("stored")[0].answer(np.full((1, 2, 3), 9, np.float32), "normalised")


@pytest.mark.parametrize("shape", [(1, 3, 2), (6,), (1, 6), (0, 2, 3), (1, 1, 2, 3)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(StageError, match=r"the model takes \[2, 3\] or \[n, 2, 3\]"):
        model("stored")[0].answer(np.zeros(shape, np.float32), "stored")


def test_more_samples_than_it_takes_at_once_are_refused() -> None:
    served = ServedModel(CONTRACT, "stored", lambda x: Answer(None, {"proof": "p"}), at_once=1)
    assert served.answer(STORED[:1].astype(np.float32), "stored").more == {"proof": "p"}
    with pytest.raises(StageError, match="5 samples were sent, and the model takes 1 at once"):
        served.answer(STORED.astype(np.float32), "stored")
