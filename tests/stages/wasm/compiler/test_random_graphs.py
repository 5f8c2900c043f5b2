# environment: wasm
from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from stages.wasm.compiler.compile import Options, generate
from tests.stages.wasm.compiler.modules import load
from tests.stages.wasm.compiler.random_graphs import RandomGraph

TOLERANCE = 1e-4  # of the largest absolute output, or of 1


def check(seeds: range, simd: bool, scratch: Path) -> Counter[str]:
    """Compile and run the graphs of these seeds and compare them with onnxruntime; how often each operator occurred."""
    graphs = [RandomGraph(seed) for seed in seeds]
    models = [graph.model() for graph in graphs]
    sources = [generate(model, Options(prefix=f"seed{seed}")) for seed, model in zip(seeds, models, strict=True)]
    module = load(sources, simd, scratch)
    options = onnxruntime.SessionOptions()
    # its optimiser merges Pad into pools, and then refuses the pads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    operators: Counter[str] = Counter()
    for seed, graph, model, source in zip(seeds, graphs, models, sources, strict=True):
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for _ in range(2):  # the second run meets the memory that the first one left
            image = graph.image()
            found = module.run(source, [image])
            for name, want, have in zip(graph.outputs, session.run(None, {"image": image}), found, strict=True):
                error = float(np.abs(have - want).max()) / max(1.0, float(np.abs(want).max()))
                assert error <= TOLERANCE, f"seed {seed}, output {name}: {error} ({graph.operators})"
        operators.update(graph.operators)
    return operators


def test_random_graphs_agree_with_onnxruntime(tmp_path: Path) -> None:
    assert sum(check(range(20), True, tmp_path).values()) > 60


@pytest.mark.slow
@pytest.mark.parametrize(("first", "simd"), [(20, True), (100, True), (180, False), (240, False)])
def test_more_random_graphs_agree_with_onnxruntime(tmp_path: Path, first: int, simd: bool) -> None:
    operators = check(range(first, first + (80 if simd else 60)), simd, tmp_path)
    assert len(operators) > 25
