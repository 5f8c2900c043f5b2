# environment: wasm
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from recast.stages.compilers.onnx_c.kernels.catalog import supported
from tests.lib.onnx_c import node_tests


def test_every_promised_operator_is_known() -> None:
    assert set(node_tests.LISTED) <= set(supported())


@pytest.mark.slow
def test_every_applicable_node_test_passes(tmp_path: Path) -> None:
    cases = node_tests.collect()
    results = node_tests.run(cases, tmp_path)
    assert results.failed == {}
    assert len(results.passed) + len(results.not_applicable) == len(cases)
    assert len(results.passed) >= 680
    covered = {node.op_type for case in cases if case.name in set(results.passed) for node in case.model.graph.node}
    assert set(node_tests.LISTED) <= covered


@pytest.mark.slow
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
