# environment: serve
from __future__ import annotations

import numpy as np
import pytest

from recast.stages.base import StageError
from recast.stages.serving.model import Answer, ServedModel, Values
from tests.lib.contracts import contract as contract_of

CONTRACT = contract_of("d", (2, 3), "uint8", 255.0, (0.5, 0.25), (0.5, 0.25), ("a", "b"))
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


TOKENS = contract_of("d", (3,), "int64", 1.0, (0.0,), (1.0,), ("a", "b"), dtype="int32")


@pytest.mark.parametrize("values", ["stored", "normalised"])
@pytest.mark.parametrize(("takes", "dtype"), [("stored", "int64"), ("normalised", "int32")])
def test_whole_numbers_reach_the_model_as_they_were_sent(takes: Values, dtype: str, values: Values) -> None:
    seen: list[np.ndarray] = []
    served = ServedModel(TOKENS, takes, lambda x: seen.append(x) or np.zeros((len(x), 2), np.float32))
    for sent in (np.array([[1, 2, 2**24 + 1]]), np.array([[1, 2, 3]], np.float32)):
        served.answer(sent, values)
        assert seen[-1].dtype == dtype and seen[-1].tolist() == sent.tolist()


@pytest.mark.parametrize("value", [0.5, 2**31])
def test_what_is_no_whole_number_of_the_model_s_type_is_refused(value: float) -> None:
    served = ServedModel(TOKENS, "normalised", lambda x: np.zeros((len(x), 2), np.float32))
    with pytest.raises(StageError, match=f"holds {value}, which is no int32") as caught:
        served.answer(np.array([[1, 2, value]]), "normalised")
    assert caught.value.remedy == "send whole numbers from -2147483648 to 2147483647"
