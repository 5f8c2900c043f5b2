# environment: wasm
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from recast.stages.common.onnx_models import onnx_session, onnx_shapes
from recast.stages.compilers.onnx_c.compile import Options, Sources, generate
from tests.lib.onnx_c import sanitized
from tests.lib.onnx_c.modules import load
from tests.lib.onnx_c.random_graphs import RandomGraph
from tests.lib.onnx_c.random_int8 import int8

TOLERANCE = 1e-4  # of the largest absolute output, or of 1
INT8_TOLERANCE = 5e-2  # as that of emit: a value halfway between two steps may round either way


def reference(model: Any) -> Any:
    """A session that runs every node by itself: fused int8 kernels saturate on some processors."""
    stated = onnx.ModelProto()
    stated.CopyFrom(model)
    onnx_shapes.state(stated)  # else onnxruntime may refuse a pool that it runs
    # onnxruntime's optimiser merges Pad into pools, and then refuses the pads
    return onnx_session.start(stated.SerializeToString(), 1, "as_written")


def compiled(models: dict[int, Any]) -> list[Sources]:
    return [generate(model, Options(prefix=f"seed{seed}")) for seed, model in models.items()]


def compare(seed: int, graph: RandomGraph, session: Any, image: Any, found: list[Any], tolerance: float) -> None:
    for name, want, have in zip(graph.outputs, session.run(None, {"image": image}), found, strict=True):
        assert want.shape == have.shape, f"seed {seed}, output {name}: {have.shape}, not {want.shape}"
        error = float(np.abs(have - want).max()) / max(1.0, float(np.abs(want).max()))
        assert error <= tolerance, f"seed {seed}, output {name}: {error} ({graph.operators})"


def check(seeds: range, simd: bool, scratch: Path) -> Counter[str]:
    """Compile and run the graphs of these seeds and compare them with onnxruntime; how often each operator occurred."""
    graphs = {seed: RandomGraph(seed) for seed in seeds}
    models = {seed: graph.model() for seed, graph in graphs.items()}
    sources = compiled(models)
    module = load(sources, simd, scratch)
    operators: Counter[str] = Counter()
    for (seed, graph), source in zip(graphs.items(), sources, strict=True):
        session = reference(models[seed])
        for _ in range(2):  # the second run meets the memory that the first one left
            image = graph.image()
            compare(seed, graph, session, image, module.run(source, [image]), TOLERANCE)
        operators.update(graph.operators)
    return operators


def check_c(seeds: range, scratch: Path) -> None:
    """The same in C, with the sanitizers and inputs that may only be read."""
    graphs = {seed: RandomGraph(seed) for seed in seeds}
    models = {seed: graph.model() for seed, graph in graphs.items()}
    images = [graph.image() for graph in graphs.values()]
    found = sanitized.run(compiled(models), [[image] for image in images], scratch)
    for (seed, graph), image, outputs in zip(graphs.items(), images, found, strict=True):
        compare(seed, graph, reference(models[seed]), image, outputs, TOLERANCE)


def check_int8(seeds: range, scratch: Path) -> int:
    """Quantized, as a module and in C; how many had a node to quantize."""
    graphs = {seed: RandomGraph(seed, outputs=1) for seed in seeds}
    quantized = {seed: int8(graph, scratch) for seed, graph in graphs.items()}
    models = {seed: model for seed, model in quantized.items() if model is not None}
    sources = compiled(models)
    module = load(sources, True, scratch / "module")
    images = [graphs[seed].image() for seed in models]
    native = sanitized.run(sources, [[image] for image in images], scratch / "c")
    for seed, source, image, in_c in zip(models, sources, images, native, strict=True):
        session = reference(models[seed])
        for found in (module.run(source, [image]), in_c):
            compare(seed, graphs[seed], session, image, found, INT8_TOLERANCE)
    return len(models)


def test_random_graphs_agree_with_onnxruntime(tmp_path: Path) -> None:
    assert sum(check(range(20), True, tmp_path).values()) > 60


def test_random_graphs_in_c_agree_with_onnxruntime(tmp_path: Path) -> None:
    check_c(range(20, 40), tmp_path)


def test_random_int8_graphs_agree_with_onnxruntime(tmp_path: Path) -> None:
    assert check_int8(range(6), tmp_path) > 3


@pytest.mark.slow
@pytest.mark.parametrize(("first", "simd"), [(40, True), (100, True), (180, False), (240, False)])
def test_more_random_graphs_agree_with_onnxruntime(tmp_path: Path, first: int, simd: bool) -> None:
    operators = check(range(first, first + 60), simd, tmp_path)
    assert len(operators) > 25


@pytest.mark.slow
def test_more_random_graphs_in_c_agree_with_onnxruntime(tmp_path: Path) -> None:
    check_c(range(300, 360), tmp_path)


@pytest.mark.slow
def test_more_random_int8_graphs_agree_with_onnxruntime(tmp_path: Path) -> None:
    assert check_int8(range(360, 400), tmp_path) > 25
