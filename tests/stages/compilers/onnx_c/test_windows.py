# environment: wasm
"""Shapes and values of windowed operators are onnxruntime's, also where ONNX's inference states other shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recast.stages.compilers.onnx_c.compile import Options, generate
from tests.lib import windowed_models
from tests.lib.onnx_c.modules import load


@pytest.mark.parametrize("seed", [pytest.param(0), *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_windows_are_those_of_onnxruntime(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    cases = []
    while len(cases) < 150:
        model = windowed_models.draw(random)
        x = windowed_models.sample(model, random)
        expected = windowed_models.of_onnxruntime(model, x)
        if expected is not None:
            cases.append((model, x, expected))
    sources = [generate(model, Options(prefix=f"case{index}")) for index, (model, _, _) in enumerate(cases)]
    module = load(sources, seed != 1, tmp_path)
    for source, (model, x, expected) in zip(sources, cases, strict=True):
        (found,) = module.run(source, [x])
        assert found.shape == expected.shape, model.graph.node
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=str(model.graph.node))
