"""The static memory plan: which tensors share a buffer, and where each buffer lies.

One pool per C type, so that no memory is read through another type than it was written through, which C99 forbids.
Buffers whose lifetimes overlap never overlap in memory. Lifetimes are in steps of the schedule, both ends included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from stages.wasm.compiler.graph import ITEM_SIZE, Graph
from stages.wasm.compiler.kernel import Call, Kernel

ALIGNMENT = 64  # bytes: a cache line, and more than any SIMD load needs


@dataclass
class Buffer:
    """Memory for one tensor (and its aliases) or scratch; `offset` and `elements` in elements of the pool's type."""

    name: str
    c_type: str
    elements: int
    start: int
    end: int
    geometry: tuple[Any, ...] = ()
    bordered: bool = False
    offset: int = -1

    @property
    def reserved(self) -> int:
        """Elements up to the next aligned buffer."""
        unit = ALIGNMENT // ITEM_SIZE[self.c_type]
        return -(-max(1, self.elements) // unit) * unit


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
    cleared: dict[int, list[str]] = field(default_factory=dict)
    """step -> tensors whose border other buffers overwrite, to be zeroed before it"""

    @property
    def buffers(self) -> list[Buffer]:
        found = {id(home.buffer): home.buffer for home in self.homes.values() if home.buffer}
        return [*found.values(), *(buffer for group in self.scratches.values() for buffer in group)]

    @property
    def size_bytes(self) -> int:
        return sum(elements * ITEM_SIZE[c_type] for c_type, elements in self.pools.items())


def plan(graph: Graph, calls: list[Call], kernels: dict[str, Kernel]) -> Plan:
    """The memory plan for these calls, in this order; deterministic."""
    roots, skipped = _aliases(graph, calls, kernels)
    starts, ends = _lifetimes(graph, calls, roots)
    _share_in_place(graph, calls, kernels, roots, starts, ends)
    homes: dict[str, Home] = {}
    for index, name in enumerate(graph.inputs):
        homes[name] = Home("input", index)
    for index, name in enumerate(graph.outputs):
        # an input or a constant that is an output too, or a second name of one output, is copied at the end
        if graph.tensors[name].value is None:
            homes.setdefault(_find(roots, name), Home("output", index))
    scratches = {
        step: [Buffer(f"scratch {n}", c_type, size, step, step) for n, (c_type, size) in enumerate(call.scratches)]
        for step, call in enumerate(calls)
        if call.scratches
    }
    for call in calls:
        for name in call.outputs:
            root = _find(roots, name)
            if root not in homes:
                tensor = graph.tensors[root]
                last = max(starts[root], ends.get(root, starts[root]))
                buffer = Buffer(root, tensor.c_type, tensor.memory_size, starts[root], last, tensor.geometry)
                buffer.bordered = any(tensor.border)
                homes[root] = Home("pool", buffer=buffer)
    for name in list(graph.tensors):
        root = _find(roots, name)
        if root in homes:
            homes[name] = homes[root]
    result = Plan(homes, scratches, {}, skipped)
    result.pools = place(result.buffers)
    _clear_borders(graph, calls, result)
    return result


def place(buffers: list[Buffer]) -> dict[str, int]:
    """Give each buffer an offset: the largest first, each into the smallest gap that holds it; the pools' sizes.

    A bordered buffer first looks for a place where one of equal geometry lay: the border is zero there already.
    """
    pools: dict[str, int] = {}
    done: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda each: (-each.reserved * ITEM_SIZE[each.c_type], each.start, each.name)):
        pool = [each for each in done if each.c_type == buffer.c_type]
        busy = sorted(
            (each.offset, each.offset + each.reserved)
            for each in pool
            if each.start <= buffer.end and buffer.start <= each.end
        )
        buffer.offset = _offset(buffer, pool, busy)
        done.append(buffer)
        pools[buffer.c_type] = max(pools.get(buffer.c_type, 0), buffer.offset + buffer.reserved)
    return dict(sorted(pools.items()))


def _offset(buffer: Buffer, pool: list[Buffer], busy: list[tuple[int, int]]) -> int:
    if buffer.bordered:
        for twin in sorted({each.offset for each in pool if each.geometry == buffer.geometry}):
            if all(twin + buffer.reserved <= low or high <= twin for low, high in busy):
                return twin
    best, best_gap, free = -1, 0, 0
    for low, high in busy:
        gap = low - free
        if gap >= buffer.reserved and (best < 0 or gap < best_gap):
            best, best_gap = free, gap
        free = max(free, high)
    return best if best >= 0 else free


def _find(roots: dict[str, str], name: str) -> str:
    while name in roots:
        name = roots[name]
    return name


def _aliases(graph: Graph, calls: list[Call], kernels: dict[str, Kernel]) -> tuple[dict[str, str], set[int]]:
    """Outputs that are the input's memory under another shape: tensor -> the tensor it is, and the steps left out."""
    roots: dict[str, str] = {}
    skipped: set[int] = set()
    fixed = set(graph.inputs)
    claimed = {name: name for name in graph.outputs}  # root -> the output that it is
    for step, call in enumerate(calls):
        if not kernels[call.node.outputs[0]].renames:
            continue
        source, target = call.node.inputs[0], call.node.outputs[0]
        root = _find(roots, source)
        if graph.tensors[source].value is not None or any(graph.tensors[source].border):
            continue
        if target in claimed:
            if root in fixed or root in claimed:
                continue
            claimed[root] = target
        roots[target] = root
        skipped.add(step)
    return roots, skipped


def _lifetimes(graph: Graph, calls: list[Call], roots: dict[str, str]) -> tuple[dict[str, int], dict[str, int]]:
    """Root -> the step that first writes it, and the step that last reads or writes it."""
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}
    for step, call in enumerate(calls):
        for name in call.outputs:
            root = _find(roots, name)
            starts.setdefault(root, step)
            ends[root] = step
        for name in call.reads:
            ends[_find(roots, name)] = step
    return starts, ends


def _share_in_place(
    graph: Graph,
    calls: list[Call],
    kernels: dict[str, Kernel],
    roots: dict[str, str],
    starts: dict[str, int],
    ends: dict[str, int],
) -> None:
    """Let the output of an elementwise step take the memory of an input that dies there."""
    outputs = {_find(roots, name) for name in graph.outputs}
    for step, call in enumerate(calls):
        node = call.node
        if not kernels[node.outputs[0]].in_place or len(call.outputs) != 1:
            continue
        target = node.outputs[0]
        if _find(roots, target) != target or target in outputs:
            continue
        for name in call.reads:
            root = _find(roots, name)
            if root not in starts or root in outputs or ends[root] != step or starts[root] == step:
                continue
            together = [each for each in call.reads if _find(roots, each) == root]
            if any(graph.tensors[each].geometry != graph.tensors[target].geometry for each in together):
                continue
            if graph.tensors[root].border != graph.tensors[target].border:
                continue
            roots[target] = root
            ends[root] = max(ends[root], ends[target])
            break


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


def live_overlaps(buffers: list[Buffer]) -> list[tuple[str, str]]:
    """Pairs of buffers that live at the same time and share memory: none in a sound plan."""
    found = []
    for i, one in enumerate(buffers):
        for other in buffers[i + 1 :]:
            together = one.start <= other.end and other.start <= one.end
            apart = one.offset + one.reserved <= other.offset or other.offset + other.reserved <= one.offset
            if one.c_type == other.c_type and together and not apart:
                found.append((one.name, other.name))
    return found
