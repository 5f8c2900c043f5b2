# environment: akida
from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.random_chain import Target, through

OPERATIONS = (
    "Add Clip Concat Conv ConvTranspose Flatten Gemm GlobalAveragePool MaxPool Relu MatMul BatchNormalization Reshape"
)
TARGET = Target(
    "akida",
    {"calibrate": {"samples": 37}, "verify": {"min_agreement": None}},
    limit=0.3,
    square=True,
    operations=frozenset(OPERATIONS.split()),
)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_classifier_is_right_or_refused(tmp_path: Path, seed: int) -> None:
    through(TARGET, seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(30))
def test_300_random_classifiers_are_right_or_refused(tmp_path: Path, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        through(TARGET, seed, tmp_path / str(seed))
