"""A deliberate type error at the end of every function: where it is not reported, zig has not got that far.

Zig analyses what is used, and passes over what depends on something that is in error itself. So the silence of the
compiler proves nothing until each function is seen to be analysed to its end.
"""

from __future__ import annotations

import re

_FUNCTION = re.compile(r"( *)(?:pub )?fn \w+\(.*\) (!?[\w.]+(?:\(.+\))?) \{")
_LONG_FUNCTION = re.compile(r"( *)\) (!?[\w.]+(?:\(.+\))?) \{")
_FAULT = "@as(*const opaque {}, "


def planted(source: str) -> tuple[str, list[int]]:
    """The Zig, formatted by zig fmt, with a type error at the end of every function; the errors' line numbers."""
    lines = source.splitlines()
    faults: list[int] = []
    open_at: list[tuple[str, str]] = []
    for index, line in enumerate(lines):
        if line.startswith("fn attempt("):  # what stands for `try`
            break
        started = _FUNCTION.fullmatch(line) or _LONG_FUNCTION.fullmatch(line)
        if started:
            open_at.append((started[1], started[2].removeprefix("!")))
        elif open_at and line == f"{open_at[-1][0]}}}":
            faults.append(_plant(lines, index, *open_at.pop()))
    return "\n".join(lines) + "\n", faults


def _plant(lines: list[str], end: int, indent: str, returned: str) -> int:
    """Make what the function that ends there returns another type's, or add a statement; its line number."""
    last = f"{indent}    "
    start = end - 1
    while not lines[start].startswith(last) or lines[start].startswith((f"{last} ", f"{last}}}", f"{last})")):
        start -= 1
    if lines[start].startswith(f"{last}return ") and lines[end - 1].endswith(";"):
        lines[start] = lines[start].replace("return ", f"return {_FAULT}@as({returned}, ", 1)
        lines[end - 1] = f"{lines[end - 1][:-1]}));"
        return start + 1
    lines[end - 1] += f" _ = {_FAULT}@as(u8, 0));"
    return end
