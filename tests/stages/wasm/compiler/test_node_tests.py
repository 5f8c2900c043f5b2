# environment: wasm
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from stages.wasm.compiler.catalog import supported
from tests.stages.wasm.compiler import node_tests

QUICK = (
    "test_conv_with_strides_and_asymmetric_padding", "test_basic_conv_with_padding", "test_convtranspose_dilations",
    "test_averagepool_2d_ceil", "test_maxpool_2d_dilations", "test_gemm_all_attributes", "test_matmul_4d",
    "test_resize_upsample_scales_linear_align_corners", "test_layer_normalization_4d_axis1",
    "test_quantizelinear_axis", "test_slice_negative_axes", "test_reflect_pad", "test_softmax_axis_1",
    "test_argmax_keepdims_example", "test_where_example", "test_gather_negative_indices", "test_cast_FLOAT_to_INT32",
    "test_gelu_default_1",
)  # fmt: skip


def test_every_promised_operator_is_known() -> None:
    assert set(node_tests.LISTED) <= set(supported())


def test_a_node_test_of_each_kind_passes(tmp_path: Path) -> None:
    cases = [case for case in node_tests.collect() if case.name in QUICK]
    results = node_tests.run(cases, tmp_path)
    assert not results.failed
    assert len(results.passed) >= len(QUICK) - 1


@pytest.mark.slow
def test_every_applicable_node_test_passes(tmp_path: Path) -> None:
    cases = node_tests.collect()
    results = node_tests.run(cases, tmp_path)
    assert results.failed == {}
    assert len(results.passed) + len(results.not_applicable) == len(cases)
    assert len(results.passed) >= 600
    covered = {node.op_type for case in cases if case.name in set(results.passed) for node in case.model.graph.node}
    assert set(node_tests.LISTED) - covered == set()


def test_where_the_test_and_onnxruntime_differ_we_follow_onnxruntime(tmp_path: Path) -> None:
    cases = [case for case in node_tests.collect() if case.name in node_tests.UNLIKE_ONNXRUNTIME]
    assert len(cases) == len(node_tests.UNLIKE_ONNXRUNTIME)
    for case in cases:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        (found,) = session.run(None, dict(zip(names, case.data_sets[0][0], strict=True)))
        assert not np.allclose(found, case.data_sets[0][1][0], rtol=case.rtol)
        case.data_sets[0] = (case.data_sets[0][0], [found])
    renamed = [type("Case", (), {**vars(case), "name": f"{case.name}_in_onnxruntime"})() for case in cases]
    assert len(node_tests.run(renamed, tmp_path).passed) == len(cases)
