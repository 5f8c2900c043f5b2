# environment: wasm
from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from recast.stages.compilers import fixed_batch, index_bounds
from tests.lib.onnx_models import cnn, initializer
from tests.lib.wasm.emitted import WORDS, text_model

node = onnx.helper.make_node


def test_an_embedding_bounds_its_tokens() -> None:
    assert index_bounds.of(fixed_batch.fix(text_model(), 1), "tokens") == (-WORDS, WORDS - 1)


def test_an_image_has_no_bounds() -> None:
    assert index_bounds.of(fixed_batch.fix(cnn(), 1), "image") is None


def bounds(*nodes: Any) -> tuple[int, int] | None:
    graph = onnx.helper.make_graph(
        list(nodes),
        "lookup",
        [onnx.helper.make_tensor_value_info("i", onnx.TensorProto.INT64, ["n", 3])],
        [onnx.ValueInfoProto(name="y")],
        [initializer("few", np.ones((5, 4))), initializer("many", np.ones((9, 7))), initializer("one", [1], np.int64)],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return index_bounds.of(fixed_batch.fix(made, 1), "i")


def test_the_smallest_table_counts_along_its_axis() -> None:
    assert bounds(node("Gather", ["many", "i"], ["y"], axis=1)) == (-7, 6)
    both = [node("Gather", ["few", "i"], ["a"]), node("Gather", ["many", "i"], ["b"])]
    assert bounds(*both, node("Concat", ["a", "b"], ["y"], axis=2)) == (-5, 4)


def test_what_is_computed_from_the_input_is_no_index_of_the_user_s() -> None:
    assert bounds(node("Sub", ["i", "i"], ["zero"]), node("Gather", ["few", "zero"], ["y"])) is None
    handed = [node("Flatten", ["i"], ["flat"]), node("Cast", ["flat"], ["c"], to=onnx.TensorProto.INT32)]
    assert bounds(*handed, node("Gather", ["few", "c"], ["y"])) == (-5, 4)
