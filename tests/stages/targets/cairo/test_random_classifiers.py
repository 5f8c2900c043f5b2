# environment: cairo
from __future__ import annotations

from pathlib import Path

import pytest

from recast.stages.targets.cairo.ops.registry import OPERATIONS
from tests.lib.random_chain import Target, through

TARGET = Target(
    "cairo",
    {"calibrate": {"samples": 37}, "verify": {"min_agreement": None, "vm_samples": 2}},
    limit=0.02,
    operations=frozenset(OPERATIONS),
)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_classifier_is_emitted_or_refused(tmp_path: Path, seed: int) -> None:
    through(TARGET, seed, tmp_path, last="emit")


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(30))
def test_300_random_classifiers_are_emitted_or_refused(tmp_path: Path, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        through(TARGET, seed, tmp_path / str(seed), last="emit")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_random_classifiers_on_the_cairo_vm_are_right(tmp_path: Path, seed: int) -> None:
    assert through(TARGET, seed, tmp_path).stage == "verify"
