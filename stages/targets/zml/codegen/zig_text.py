"""How names and shapes are written in Zig, as `zig fmt` would write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

KEYWORDS = re.compile(
    "addrspace|align|allowzero|and|anyframe|anytype|asm|break|callconv|catch|comptime|const|continue|defer|else|enum|"
    "errdefer|error|export|extern|fn|for|if|inline|linksection|noalias|noinline|nosuspend|opaque|or|orelse|packed|pub|"
    "resume|return|struct|suspend|switch|test|threadlocal|try|union|unreachable|var|volatile|while"
)
"""of zig 0.16.0"""
_PRIMITIVE = re.compile(
    r"[iu]\d+|f(16|32|64|80|128)|c_\w+|[iu]size|anyerror|anyopaque|bool|comptime_(int|float)|false|isize|noreturn|null|"
    r"true|type|undefined|void"
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)

AXES: dict[int, tuple[str, ...]] = {
    0: (),
    1: ("d",),
    2: ("b", "d"),
    3: ("b", "s", "d"),
    4: ("b", "c", "h", "w"),
    5: ("b", "t", "c", "h", "w"),
}
"""rank -> what a tensor's axes are called between layers"""


def field(name: str) -> str:
    """A PyTorch attribute's name as a field: `fc1`, `@"0"`; `init_`, since structs have an `init` of their own."""
    name = f"{name}_" if name in ("init", "forward") else name
    plain = _IDENTIFIER.fullmatch(name) and not KEYWORDS.fullmatch(name) and name != "_"
    return name if plain else f'@"{name}"'


def local(name: str, taken: Iterable[str]) -> str:
    """A name for a local constant that means nothing else and is not among `taken`."""
    name = re.sub(r"\W", "_", name)
    if not _IDENTIFIER.fullmatch(name) or name == "_":
        name = f"v{name}"
    while KEYWORDS.fullmatch(name) or _PRIMITIVE.fullmatch(name) or name in taken:
        name += "_"
    return name


def type_name(path: str, taken: Iterable[str]) -> str:
    """The struct of a module: `features.0.conv1` -> `Features0Conv1`."""
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"\W|_", path))
    if not _IDENTIFIER.fullmatch(name):
        name = f"Layer{name}"
    unique, number = name, 2
    while unique in taken or _PRIMITIVE.fullmatch(unique):
        unique, number = f"{name}_{number}", number + 1
    return unique


def tags(names: Sequence[str]) -> str:
    """`.{ .b, .d }`"""
    return values([f".{name}" for name in names])


def values(items: Iterable[object]) -> str:
    """`.{ 1, 2 }`, with the spaces zig fmt wants: none around one item."""
    written = [str(item) for item in items]
    return f".{{{written[0]}}}" if len(written) == 1 else f".{{ {', '.join(written)} }}" if written else ".{}"


def options(items: Iterable[str]) -> str:
    """`.{ .padding = 1 }`, of `.name = value` each."""
    written = ", ".join(items)
    return f".{{ {written} }}" if written else ".{}"


def number(value: float) -> str:
    """A number as Zig reads it back exactly."""
    return repr(value)
