# environment: onnx
from __future__ import annotations

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import onnx_shapes
from tests.lib import windowed_models


def inferred(model: onnx.ModelProto) -> tuple[int, ...]:
    found = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim
    return tuple(axis.dim_value for axis in found)


@pytest.mark.parametrize("seed", [pytest.param(0), *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_stated_nodes_compute_the_same_and_are_inferred_right(seed: int) -> None:
    random = np.random.default_rng(seed)
    wrong, stated = 0, 0
    for _ in range(500):
        model = windowed_models.draw(random)
        x = windowed_models.sample(model, random)
        expected = windowed_models.of_onnxruntime(model, x)
        if expected is None:
            continue
        wrong += inferred(model) != expected.shape
        names = onnx_shapes.state(model)
        stated += bool(names)
        found = windowed_models.of_onnxruntime(model, x)
        assert found is not None and found.shape == expected.shape, model.graph.node
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert not names or inferred(model) == expected.shape, model.graph.node
    assert stated > 30 and wrong - stated < 0.2 * wrong
