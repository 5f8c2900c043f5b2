# environment: wasm
from __future__ import annotations

import numpy as np
import pytest

from recast.stages.compilers.onnx_c.graph import Graph, Node, Tensor
from recast.stages.compilers.onnx_c.kernels import catalog
from recast.stages.compilers.onnx_c.kernels.base import ANY, CHANNELS_LAST, Call, Need, Needs
from recast.stages.compilers.onnx_c.memory import memory_plan
from recast.stages.compilers.onnx_c.memory.placement import Buffer, live_overlaps, place
from recast.stages.compilers.onnx_c.onnx_import import read
from recast.stages.compilers.onnx_c.options import Options
from recast.stages.compilers.onnx_c.passes import epilogue, identities, layout
from tests.lib.onnx_c.random_graphs import RandomGraph


@pytest.mark.parametrize("seed", range(200))
def test_no_two_live_buffers_overlap(seed: int) -> None:
    random = np.random.default_rng(seed)
    buffers = []
    for index in range(int(random.integers(1, 40))):
        start = int(random.integers(0, 30))
        c_type = ("float", "uint8_t", "int64_t")[int(random.integers(0, 3))]
        elements, kind = int(random.integers(1, 2000)), int(random.integers(0, 4))
        end = start + int(random.integers(0, 8))
        buffers.append(Buffer(str(index), c_type, elements, start, end, (kind, elements), kind == 0))
    pools = place(buffers)
    assert live_overlaps(buffers) == []
    assert all(each.offset >= 0 and each.offset + each.elements <= pools[each.c_type] for each in buffers)
    at_once = [sum(each.elements for each in buffers if each.start <= t <= each.end) for t in range(40)]
    assert sum(pools.values()) >= max(at_once)


def test_the_check_sees_an_overlap() -> None:
    buffers = [Buffer("a", "float", 16, 0, 2), Buffer("b", "float", 16, 2, 3)]
    buffers[0].offset, buffers[1].offset = 0, 15
    assert live_overlaps(buffers) == [("a", "b")]


def test_memory_is_used_again() -> None:
    buffers = [Buffer(str(step), "float", 1000, step, step + 1) for step in range(20)]
    assert place(buffers)["float"] == 2 * 1008


@pytest.mark.parametrize("seed", range(60))
def test_in_the_plan_of_a_model_no_step_writes_over_what_is_read_later(seed: int) -> None:
    """Replays a plan on paper: who wrote each pool element last, at each step, from the calls alone."""
    graph, calls, memory = _planned(RandomGraph(seed).model())
    assert live_overlaps(memory.buffers) == []
    holders: dict[tuple[str, int], str] = {}
    same: dict[str, str] = {}
    for step, call in enumerate(calls):
        for name in call.reads:
            content = same.get(name, name)
            assert all(holders[cell] == content for cell in _cells(graph, memory, name))
        for name in call.outputs:
            if step in memory.skipped:
                same[name] = same.get(call.node.inputs[0], call.node.inputs[0])
                continue
            holders.update(dict.fromkeys(_cells(graph, memory, name), name))
        for buffer in memory.scratches.get(step, []):
            cells = ((buffer.c_type, buffer.offset + i) for i in range(buffer.elements))
            holders.update(dict.fromkeys(cells, f"scratch of {step}"))


class _Bordered(catalog.conv.Conv):
    """The generic Conv with a need for borders, as a kernel without bounds checks has."""

    def needs(self, node: Node, graph: Graph) -> Needs:
        pads = tuple(node.attributes.get("pads", (0, 0, 0, 0)))
        return Needs((Need("channels_last", pads), *(ANY,) * (len(node.inputs) - 1)), (CHANNELS_LAST,), (ANY,) * 9)


def _planned(model: object) -> tuple[Graph, list[Call], memory_plan.Plan]:
    graph = read(model, Options())
    identities.remove(graph)
    epilogue.fuse(graph)
    kernels = catalog.select(graph, Options())
    for node in graph.nodes:
        if node.op == "Conv":
            kernels[node.outputs[0]] = _Bordered()
    layout.assign(graph, kernels)
    calls = [Call(node, graph, Options()) for node in graph.nodes]
    for call in calls:
        kernels[call.node.outputs[0]].emit(call)
    return graph, calls, memory_plan.plan(graph, calls, kernels)


def _cells(graph: Graph, memory: memory_plan.Plan, name: str) -> list[tuple[str, int]]:
    home = memory.homes.get(name)
    if home is None or home.buffer is None:
        return []
    tensor: Tensor = graph.tensors[name]
    start = home.buffer.offset
    return [(home.buffer.c_type, start + i) for i in range(tensor.memory_size)]
