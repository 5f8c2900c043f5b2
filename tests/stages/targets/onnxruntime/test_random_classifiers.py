# environment: onnx
from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.random_chain import Target, through
from tests.lib.random_classifiers import OPSETS

SCHEMES = (
    {},
    {"per_channel": False},
    {"activation_type": "uint8"},
    {"activation_type": "uint8", "weight_type": "uint8"},
    {"reduce_range": True},
)


def target(seed: int) -> Target:
    """int8 with a scheme of the seed's; ranges by minmax, so that the error is that of rounding."""
    params = {"quantize": SCHEMES[seed % 5], "calibrate": {"batch_size": (64, 7)[seed % 2]}}
    return Target("onnxruntime", {**params, "verify": {"min_agreement": None}}, limit=0.15, opsets=OPSETS[4:])


@pytest.mark.parametrize("seed", range(24))
def test_a_random_classifier_is_right_or_refused(tmp_path: Path, seed: int) -> None:
    through(target(seed), seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(30))
def test_300_random_classifiers_are_right_or_refused(tmp_path: Path, tens: int) -> None:
    outcomes = [through(target(seed), seed, tmp_path / str(seed)) for seed in range(10 * tens, 10 * tens + 10)]
    assert sum(not one.refused for one in outcomes) > 2
