# environment: onnx
from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from recast.stages.common.onnx_models.axis_nodes import axis_node, fresh, taken_names
from tests.lib.onnx_models import initializer, model


@pytest.mark.parametrize("opset", [11, 12, 13, 18])
def test_a_squeeze_runs_in_every_operator_set_and_no_name_is_used_twice(opset: int) -> None:
    import onnx

    inner = onnx.helper.make_node("Add", ["squeezed", "one"], ["scores"], "squeezed/axes")
    made = model([inner], [initializer("one", np.ones(3))], (2, 1, 3), opset)
    taken = taken_names(made.graph) - {"squeezed"}
    name, axes = (fresh(one, taken) for one in ("squeezed", "squeezed/axes"))
    assert (name, axes) == ("squeezed", "squeezed/axes_")
    node = axis_node(made, "Squeeze", "image", "squeezed", 1, name=name, axes=axes)
    nodes = [node, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"image": np.arange(6, dtype=np.float32).reshape(2, 1, 3)})
    assert np.array_equal(scores, [[1, 2, 3], [4, 5, 6]])
