"""The process in which EZKL's functions are called, one job for each process; `calls` starts it.

A job is one line of JSON on standard input: `{"calls": [{"function", "arguments", "keep"}], "memory", "parent"}`. The
answer, JSON, goes to the file named as the only argument: `{"values"}` or `{"error", "kind"}`, and what the calls took,
`{"peak_bytes", "cpu_seconds"}`. What EZKL prints goes where standard output goes. This file is started by its path, and
imports nothing of Recast's.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal this process gets when its parent ends"""


def main() -> None:
    """Run the job and end at once: EZKL's threads have been seen to abort a process that ends in order."""
    job = json.loads(sys.stdin.readline())
    _end_with_parent(job["parent"])
    if job["memory"]:
        resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))
    try:
        answer: dict[str, Any] = {"values": [_call(**call) for call in job["calls"]]}
    # a mismatched key raises PanicException, which derives from BaseException
    except BaseException as error:
        answer = {"error": str(error), "kind": type(error).__name__}
    answer["peak_bytes"] = _peak_bytes()
    used = resource.getrusage(resource.RUSAGE_SELF)
    answer["cpu_seconds"] = used.ru_utime + used.ru_stime
    place = Path(sys.argv[1])
    half = place.with_suffix(".half")
    half.write_text(json.dumps(answer), encoding="utf-8")
    half.rename(place)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end_with_parent(parent: int) -> None:
    """By the kernel: a thread that waits for the parent could not run, as EZKL's functions keep Python's lock."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _peak_bytes() -> int:
    """Most memory held, by the kernel's account of this program; getrusage's counts that of its parent at the start."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _call(function: str, arguments: dict[str, Any], keep: list[str]) -> Any:
    import ezkl

    if "py_run_args" in arguments:
        run_args = ezkl.PyRunArgs()
        for name, value in arguments["py_run_args"].items():
            setattr(run_args, name, _as_tuples(value))
        arguments = {**arguments, "py_run_args": run_args}
    value = _waited(getattr(ezkl, function), arguments)
    if keep:
        return [value[name] for name in keep]
    return value if value is None or isinstance(value, bool) else True


def _as_tuples(value: Any) -> Any:
    """Lists of JSON as EZKL takes them: a pair of numbers, or a list of pairs."""
    if not isinstance(value, list):
        return value
    return [tuple(pair) for pair in value] if all(isinstance(pair, list) for pair in value) else tuple(value)


def _waited(function: Any, arguments: dict[str, Any]) -> Any:
    """Some of EZKL's functions want a running loop, and give back what is to be awaited in it."""

    async def in_loop() -> Any:
        value = function(**arguments)
        return await value if inspect.isawaitable(value) else value

    return asyncio.run(in_loop())


if __name__ == "__main__":
    main()
