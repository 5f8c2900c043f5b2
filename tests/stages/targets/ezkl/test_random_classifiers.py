# environment: ezkl
from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.random_chain import Target, through

OPERATIONS = (
    "Add Sub Mul Conv Gemm MatMul Relu Clip LeakyRelu Sigmoid Tanh MaxPool AveragePool GlobalAveragePool Flatten "
    "Reshape BatchNormalization Transpose Concat Pad Squeeze Unsqueeze Slice ReduceMean ReduceSum Softmax"
)
NO_LIMITS = {"max_abs_error": None, "min_agreement": None}
TARGET = Target(
    "ezkl",
    {
        "calibrate": {"samples": 5, "fidelity_samples": 5, "max_logrows": 14, **NO_LIMITS},
        "emit": {"insecure_srs": True, "evm": False},
        "verify": {"samples": 4, "parity_samples": 2, **NO_LIMITS},
    },
    limit=0.2,
    operations=frozenset(OPERATIONS.split()),
)


@pytest.mark.parametrize("seed", range(6))
def test_a_random_classifier_has_settings_or_is_refused(tmp_path: Path, seed: int) -> None:
    through(TARGET, seed, tmp_path, last="quantize")


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(30))
def test_300_random_classifiers_have_settings_or_are_refused(tmp_path: Path, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        through(TARGET, seed, tmp_path / str(seed), last="quantize")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 10))
def test_random_classifiers_in_a_circuit_are_right_or_refused(tmp_path: Path, seed: int) -> None:
    through(TARGET, seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [31, 66])
def test_a_form_that_ezkl_panics_at_is_not_chosen(tmp_path: Path, seed: int) -> None:
    """It lays out the convolution, and fails at an index when that is written as a product."""
    assert not through(TARGET, seed, tmp_path, last="calibrate").refused
