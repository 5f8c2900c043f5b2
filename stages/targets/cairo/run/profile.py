"""What each layer costs: the steps of its function and of all that this calls, and the memory cells they write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from recast.stages.targets.cairo.run.execution import Execution, by_function
from recast.stages.targets.cairo.syntax.casm import Casm, call_sites

FUNCTIONS = "inference::functions::"
OTHER = "calling"
"""everything outside the layers: the contract around the program, and passing data on"""


class Cost(NamedTuple):
    """Of one layer, in one run."""

    steps: int
    cells: int
    """memory cells first written by its instructions, as `Execution.cells_at` says"""


def by_layer(casm: Casm, execution: Execution) -> dict[str, Cost]:
    """Layer -> cost, in running order; together all steps, and all cells but those that stand before the run.

    A function that several layers call (an exponential, say) costs each the mean of what it costs a call.
    """
    steps, cells = (_shares(casm, execution, counts) for counts in (execution.steps_at, execution.cells_at))
    return {layer: Cost(steps[layer], cells[layer]) for layer in steps}


def _shares(casm: Casm, execution: Execution, counts: Mapping[int, int]) -> dict[str, int]:
    """Layer -> what was counted, by program counter, in its function and all that this calls."""
    run = by_function(execution.steps_at, casm.functions)
    own = by_function(counts, casm.functions)
    starts = sorted(casm.functions)
    calls: dict[str, Counter[str]] = {name: Counter() for name in run}
    times = Counter({casm.functions[casm.entry_point]: 1})
    for pc, target in call_sites(casm.bytecode):
        count = execution.steps_at.get(pc, 0)
        if count and target in casm.functions:
            caller = casm.functions[max(start for start in starts if start <= pc)]
            calls[caller][casm.functions[target]] += count
            times[casm.functions[target]] += count
    costs: dict[str, float] = {}

    def cost(name: str) -> float:
        """Mean of one call, all that it calls included."""
        if name not in costs:
            # a function that calls itself is a loop of Cairo: all that it costs belongs to its first call
            inner = times[name] - calls[name][name]
            below = sum(count * cost(called) for called, count in calls[name].items() if called != name)
            costs[name] = (own.get(name, 0) + below) / max(inner, 1)
        return costs[name]

    layers = {
        name.removeprefix(FUNCTIONS): round(cost(name) * times[name])
        for name in (casm.functions[start] for start in starts)
        if name in run and name.startswith(FUNCTIONS) and _is_layer(name, calls)
    }
    layers = {name: layers[name] for name in sorted(layers, key=_order)}
    return {**layers, OTHER: sum(counts.values()) - sum(layers.values())}


def _is_layer(name: str, calls: dict[str, Counter[str]]) -> bool:
    return any(caller.endswith("inference::main") and name in called for caller, called in calls.items())


def _order(name: str) -> tuple[int, str]:
    number = name.rpartition("_")[2]
    return (int(number) if number.isdigit() else (0 if name.startswith("read") else 10**9), name)
