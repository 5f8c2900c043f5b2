"""A copy of model.zig in which every layer hands what it gives to the recorder of the stand-in.

The emitted file is compiled and run as it is; the copy, line by line the same, is there to look inside. It is made from
the text, since a fault in the text is what is looked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_STRUCT = re.compile(r"/// (.+): [^:]+")
_CONSTANT = re.compile(r"( {8}const (\w+) = )(.+);")
_RETURN = re.compile(r"( {8}return )(.+);")
_LAYER_CALL = re.compile(r"self\.\S+\.forward\(")
MODEL = "the model"
"""what `structs.write` calls the model in the comment above its struct"""


def watched(model: str) -> str:
    """Of model.zig's text; the result of the model itself goes by the empty name, and values inside it too."""
    return "".join(_lines(model))


def _lines(model: str) -> Iterator[str]:
    path, before, inside = "", "", False
    for line in model.splitlines(keepends=True):
        described = _STRUCT.fullmatch(before.rstrip("\n"))
        if described and line.startswith("pub const "):
            path = "" if described[1] == MODEL else described[1]
        before = line
        if line.startswith("    pub fn "):
            inside = line.startswith("    pub fn forward(")
        elif line.startswith("    }"):
            inside = False
        yield _handed_over(line, json.dumps(path, ensure_ascii=False)) if inside else line


def _handed_over(line: str, path: str) -> str:
    constant = _CONSTANT.fullmatch(line.rstrip("\n"))
    # a layer's result is handed over by the layer
    if constant and not _LAYER_CALL.match(constant[3]):
        return f'{constant[1]}zml.recorder.local({path}, "{constant[2]}", {constant[3]});\n'
    returned = _RETURN.fullmatch(line.rstrip("\n"))
    return f"{returned[1]}zml.recorder.layer({path}, {returned[2]});\n" if returned else line
