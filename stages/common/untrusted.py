"""Bounds for reading what somebody else made: a file may ask for more time and memory than there is."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recast.stages.base import StageError, emit_event

SHARE = 0.75
"""of the memory that is free, which one file may take"""
GIB = 2**30
MACHINE, CONTAINER = Path("/proc"), Path("/sys/fs/cgroup")


@contextmanager
def time_limit(seconds: float, what: str, *remedies: str) -> Iterator[None]:
    """The runner ends the stage with `what` if the body takes longer: native code hears no signal and no thread."""
    emit_event({"limit": seconds, "error": f"{what} took longer than {seconds:g} s", "remedies": remedies})
    try:
        yield
    finally:
        emit_event({"limit": None})


@contextmanager
def memory_limit(what: str, *remedies: str) -> Iterator[None]:
    """The body may take three quarters of the memory that is free just now; what is asked beyond is a StageError.

    Native code is told the same by the system, and raises what it then raises.
    """
    free = free_bytes()
    if free is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [_taken() + int(free * SHARE), *(limit for limit in before if limit != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), before[1]))
    try:
        yield
    except MemoryError as error:
        raise StageError(
            f"{what} takes more than the {free * SHARE / GIB:.1f} GiB of memory it may", *remedies
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def free_bytes() -> int | None:
    """Memory that can be had without swapping, of the machine and of the container; None where no /proc says it."""
    try:
        said = (MACHINE / "meminfo").read_text(encoding="ascii")
    except OSError:  # no Linux
        return None
    free = int(said.partition("MemAvailable:")[2].split()[0]) * 1024
    with suppress(OSError, ValueError):  # the file says `max` where there is no bound
        most, used = (int((CONTAINER / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        free = min(free, most - used)
    return max(free, 0)


def _taken() -> int:
    """What RLIMIT_DATA counts of this process."""
    for line in (MACHINE / "self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
