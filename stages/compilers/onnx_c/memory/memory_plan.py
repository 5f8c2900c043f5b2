"""The static memory plan: which tensors share a buffer, and where each buffer lies.

One pool per C type, so that no memory is read through another type than it was written through, which C99 forbids.
Buffers whose lifetimes overlap never overlap in memory. Lifetimes are in steps of the schedule, both ends included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recast.stages.compilers.onnx_c.graph import ITEM_SIZE, Graph
from recast.stages.compilers.onnx_c.kernels.base import Call, Kernel
from recast.stages.compilers.onnx_c.memory.aliases import aliases, find, lifetimes, share_in_place
from recast.stages.compilers.onnx_c.memory.placement import Buffer, place


@dataclass(frozen=True)
class Home:
    """Where a tensor lives: in a pool, or in the caller's input or output of this index."""

    kind: Literal["pool", "input", "output"]
    index: int = 0
    buffer: Buffer | None = None


@dataclass
class Plan:
    """Homes by tensor name, scratch buffers by step, pool sizes in elements, and borders to clear."""

    homes: dict[str, Home]
    scratches: dict[int, list[Buffer]]
    pools: dict[str, int]
    skipped: set[int] = field(default_factory=set)
    """steps that need no code, since input and output are one memory"""
    lasting: dict[int, list[Buffer]] = field(default_factory=dict)
    """step -> the memory its call prepares once"""
    cleared: dict[int, list[str]] = field(default_factory=dict)
    """step -> tensors whose border other buffers overwrite, to be zeroed before it"""

    @property
    def buffers(self) -> list[Buffer]:
        found = {id(home.buffer): home.buffer for home in self.homes.values() if home.buffer}
        groups = (*self.scratches.values(), *self.lasting.values())
        return [*found.values(), *(buffer for group in groups for buffer in group)]

    @property
    def size_bytes(self) -> int:
        return sum(elements * ITEM_SIZE[c_type] for c_type, elements in self.pools.items())


def plan(graph: Graph, calls: list[Call], kernels: dict[str, Kernel]) -> Plan:
    """The memory plan for these calls, in this order; deterministic."""
    roots, skipped = aliases(graph, calls, kernels)
    starts, ends = lifetimes(graph, calls, roots)
    share_in_place(graph, calls, kernels, roots, starts, ends)
    homes: dict[str, Home] = {}
    for index, name in enumerate(graph.inputs):
        homes[name] = Home("input", index)
    for index, name in enumerate(graph.outputs):
        # an input or a constant that is an output too, or a second name of one output, is copied at the end
        if graph.tensors[name].value is None:
            homes.setdefault(find(roots, name), Home("output", index))
    scratches = {
        step: [Buffer(f"scratch {n}", c_type, size, step, step) for n, (c_type, size) in enumerate(call.scratches)]
        for step, call in enumerate(calls)
        if call.scratches
    }
    for call in calls:
        for name in call.outputs:
            root = find(roots, name)
            if root not in homes:
                tensor = graph.tensors[root]
                last = max(starts[root], ends.get(root, starts[root]))
                buffer = Buffer(root, tensor.c_type, tensor.memory_size, starts[root], last, tensor.geometry)
                buffer.bordered = any(tensor.border)
                homes[root] = Home("pool", buffer=buffer)
    for name in list(graph.tensors):
        root = find(roots, name)
        if root in homes:
            homes[name] = homes[root]
    # written before the first step and read at every inference: it shares memory with nothing
    lasting = {
        step: [Buffer(f"prepared {n}", c_type, size, -1, len(calls)) for n, (c_type, size) in enumerate(call.lasting)]
        for step, call in enumerate(calls)
        if call.lasting
    }
    result = Plan(homes, scratches, {}, skipped, lasting)
    result.pools = place(result.buffers)
    _clear_borders(graph, calls, result)
    return result


def _clear_borders(graph: Graph, calls: list[Call], result: Plan) -> None:
    """Zero a border before its producer runs wherever a buffer of another geometry shares its memory.

    Static memory starts as zeros and producers write the interior only, so elsewhere the border stays zero for ever.
    """
    buffers = result.buffers
    for step, call in enumerate(calls):
        for name in call.outputs:
            home = result.homes[name]
            buffer = home.buffer
            if buffer is None or not any(graph.tensors[name].border) or buffer.start != step:
                continue
            for other in buffers:
                apart = (
                    other.offset + other.reserved <= buffer.offset or buffer.offset + buffer.reserved <= other.offset
                )
                twin = other.geometry == buffer.geometry and other.offset == buffer.offset
                if other.c_type == buffer.c_type and other is not buffer and not apart and not twin:
                    result.cleared.setdefault(step, []).append(name)
                    break
