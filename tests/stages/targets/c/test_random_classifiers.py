# environment: wasm
from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.random_chain import Target, through


def target(name: str, seed: int) -> Target:
    """Three of four as float32, whose error is that of another order of sums."""
    int8 = seed % 4 == 3
    params = {"quantize": {"scheme": "int8" if int8 else "float32"}, "verify": {"min_agreement": None}}
    return Target(name, params, limit=0.15 if int8 else 1e-3, prepared_by="wasm")


@pytest.mark.parametrize("seed", range(4))
def test_a_random_classifier_is_right_or_refused(tmp_path: Path, seed: int) -> None:
    through(target("c", seed), seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tens", range(30))
def test_300_random_classifiers_in_c_are_right_or_refused(tmp_path: Path, tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        through(target("c", seed), seed, tmp_path / str(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 300, 30))
def test_random_classifiers_as_webassembly_are_right_or_refused(tmp_path: Path, seed: int) -> None:
    through(target("wasm", seed), seed, tmp_path)
