"""How long one sample takes: the emitted artifact beside the float model in onnxruntime, in the same run.

Times are of one machine and one moment, so they go to the runner as a measurement and into no output: no key, no
artifact and no dvc.lock knows them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recast.stages.base import emit_event, progress
from recast.stages.common.samples import Taken

NAME = "latency"
"""of the measurement"""
WARM_UP = 10
"""calls of each before the first that is timed, which load, compile and fill caches; one if they are slow"""
MOST_RUNS = 500
BUDGET = 0.5
"""seconds for all timed runs: a quick model runs hundreds of times, one of a second just once"""
FEWEST_FOR_P95 = 20
"""runs below which a 95th percentile would only be the slowest one"""


def measure(
    emitted: Callable[[Any], object], reference: Callable[[Any], object], stored: Taken, threads: int
) -> dict[str, Any]:
    """Run both on one stored sample at a time, in turns, so that what else the machine does meets both alike.

    Both are given samples as they are stored, (1, *shape) of every input, so that both include what prepares them.
    `threads`: how many either was told to use. Gives seconds: `median`, `p95` (None below 20 runs) and `runs` of the
    emitted model, and under `float` of the float model; with `threads`, `cpu` and `warm_up`.
    """
    progress("measure latency")
    times: tuple[list[float], list[float]] = ([], [])
    began, warm_up = time.perf_counter(), 0
    while warm_up < WARM_UP and (not warm_up or time.perf_counter() - began < BUDGET / 5):
        emitted(stored[:1])
        reference(stored[:1])
        warm_up += 1
    began = time.perf_counter()
    while len(times[0]) < MOST_RUNS and (not times[0] or time.perf_counter() - began < BUDGET):
        at = len(times[0]) % len(stored)
        sample = stored[at : at + 1]
        for call, taken in zip((emitted, reference), times, strict=True):
            started = time.perf_counter()
            call(sample)
            taken.append(time.perf_counter() - started)
    return {
        **_summary(times[0]),
        "float": _summary(times[1]),
        "threads": threads,
        "cpu": processor(),
        "warm_up": warm_up,
    }


def report(measured: dict[str, Any]) -> None:
    """Tell the runner, which keeps it beside the times of the stages."""
    emit_event({"measured": NAME, "value": measured})


def _summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Median and 95th percentile by the nearest rank (ISO 3534-1: the least value that 95 % do not exceed)."""
    ordered = sorted(seconds)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1] if len(ordered) >= FEWEST_FOR_P95 else None
    return {"median": statistics.median(ordered), "p95": p95, "runs": len(ordered)}


def processor() -> str:
    """The processor as its maker calls it, or else its architecture."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
