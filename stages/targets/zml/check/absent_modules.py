"""Declarations for what ZML's sources take from modules that only Bazel would bring, derived from how they use it.

Above all these are C interfaces: MLIR's, PJRT's, the C library's. A name's first declaration is read from the text of
its uses: what is called is a function with as many parameters, what stands where a type does is a type. Where zig then
says that something else is needed (a field, another result), the declaration becomes that. Nothing here is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recast.stages.targets.zml.check.zig_modules import Module

NAME = "absent_from_the_checkout"
"""of the one file that holds them all; it is in every error about them"""
HANDLE = "?*anyopaque"
"""what MLIR's structs hold, and what stands for any pointer"""

_TAG = re.compile(r"\n?\s*(?:\w+|@\"\w+\") = [\w.]+,")
_OPAQUE_TYPE = "opaque {}"
_RESULT, _FIELD = "result_of_{}", "field_{}_of_{}"
# the type of an argument that is cast to whatever the parameter's is
_CAST_TO = {
    "intCast": "i64",
    "truncate": "i64",
    "intFromFloat": "i64",
    "floatCast": "f64",
    "floatFromInt": "f64",
    "ptrCast": "[*c]const u8",
    "alignCast": "[*c]const u8",
    "constCast": "[*c]const u8",
    "ptrFromInt": HANDLE,
    "enumFromInt": "c_int",
    "bitCast": "i64",
}
_CAST = re.compile(rf"@({'|'.join(_CAST_TO)})\(")
_RESULT_CAST = re.compile(r"@(\w+)\((?:@\w+\()*$")
_ERROR = re.compile(r"^(\S.*?):(\d+):(\d+): error: (.*)$")
_MISSING = re.compile(rf"root source file struct '{NAME}' has no member named '(\w+)'")
_NO_FIELD = re.compile(rf"no (?:field|member)[\w ]* named '(\w+)' in (?:struct )?'{NAME}\.(\w+)'")
_EXPECTED = re.compile(r"expected type '(.+)', found '(.+)'")
_EXPECTED_KIND = re.compile(rf"expected (error union|\w+)(?: tag)?(?: type| value)?, found '{NAME}\.(\w+)'")
_IGNORED = re.compile(rf"value of type '{NAME}\.(\w+)' ignored")
_NOT_INDEXED = re.compile(rf"(?:slice of non-array )?type '{NAME}\.(\w+)'(?: does not support (?:indexing|array).*)?$")
_NO_POINTER = re.compile(rf"expected type '{NAME}\.(\w+)', found pointer")
_INCOMPATIBLE = re.compile(r"incompatible types: '(.+)' and '(.+)'")
_ARITY = re.compile(r"expected \d+ argument\(s\), found (\d+)")
_DECLARED_HERE = re.compile(rf"{NAME}\.zig:\d+:\d+: note: function declared here\npub fn (\w+)\(")
_OPAQUE = re.compile(rf"(?=.*(?:opaque|uninstantiable)).*'{NAME}\.(\w+)'")
_NO_FUNCTION = re.compile(rf"expected type '(type|[iu]size|[iu]\d+|c_\w+)', found 'fn .*{NAME}\.result_of_(\w+)'")
_NO_TYPE = re.compile(r"expected type '(?:[iu]size|[iu]\d+|c_\w+)', found 'type'")
_KINDS = {
    "integer": "i64",
    "pointer": HANDLE,
    "optional": HANDLE,
    "float": "f64",
    "bool": "bool",
    "boolean": "bool",
    "error union": "anyerror!void",
}
_NAMEABLE = re.compile(rf"(?:[*?]|\[[*c]?\]|const )*(?:{NAME}\.\w+|[iu]\d+|[ui]size|f\d+|c_\w+|bool|void|anyopaque)")


ZERO = """\
fn zero(comptime T: type) T {
    return switch (@typeInfo(T)) {
        .bool => false,
        .int => 0,
        .optional => null,
        .void => {},
        else => undefined,
    };
}
"""
"""what functions return, since some are called while zig compiles"""


@dataclass(frozen=True)
class Error:
    """An error of zig's: where, what, and the source line and notes below it."""

    place: Path
    line: int
    column: int
    message: str
    details: str

    @property
    def _source(self) -> str:
        return self.details.partition("\n")[0]

    @property
    def name(self) -> str:
        """The name behind the dot at the place of the error."""
        match = re.compile(r"\w*\.?(\w+)").match(self._source, self.column - 1)
        return match[1] if match else ""

    @property
    def call(self) -> _Use:
        """The call at the place of the error."""
        end = self._source.find("(", self.column - 1)
        return _Use(self._source, self.column - 1, end if end >= 0 else len(self._source))

    @property
    def composed_arity(self) -> int:
        """How many arguments stand behind an `@field` in the line; one if there is none."""
        start = self._source.find("@field(")
        if start < 0:
            return 1
        end = _split(self._source, start + len("@field"))[1]
        return len(_split(self._source, end)[0]) if self._source[end : end + 1] == "(" else 1


@dataclass
class _Struct:
    """Fields by name, with their types."""

    fields: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        inside = "".join(f'    @"{key}": {kind} = zero({kind}),\n' for key, kind in self.fields.items())
        return f"extern struct {{\n{inside}}}"


@dataclass
class _Function:
    parameters: list[str]
    result: str

    def text(self, name: str) -> str:
        given = ", ".join(f"_: {kind}" for kind in self.parameters)
        return f"pub fn {name}({given}) {self.result} {{\n    return zero({self.result});\n}}\n"


class Absent:
    """What is declared so far; `learn` adds what zig misses."""

    def __init__(self, modules: Iterable[Module]) -> None:
        modules = list(modules)
        self._sources = [
            (text, alias)
            for module in modules
            for path in module.files
            for text in [path.read_text(encoding="utf-8", errors="replace")]
            for alias in _aliases(text, module.absent)
        ]
        self._declared: dict[str, _Struct | _Function | str] = {}
        self._constants = 0
        # as MLIR's are; what holds one then has a size
        for name in sorted({one for module in modules for used in module.absent.values() for one in used}):
            uses = list(self._uses(name))
            is_tag = bool(uses) and all(use.is_tag() for use in uses)
            self._declared[name] = str(uses[0].tags_before()) if is_tag else _Struct({"ptr": HANDLE})
        for text, alias in self._sources:
            for name in re.findall(rf"(?<![\w.\"]){re.escape(alias)}\.(\w+)", text):
                self._declare(name)

    def text(self) -> str:
        """The file, as Zig."""
        return ZERO + "".join(
            f"pub const {name} = {one};\n" if isinstance(one, str) and one is not _OPAQUE_TYPE else _text(name, one)
            for name, one in self._declared.items()
        )

    def learn(self, errors: Iterable[Error]) -> bool:
        """Declare what zig's errors say is missing or of another type; whether anything was new."""
        before = self.text()
        for error in errors:
            self._learn(error)
        return self.text() != before

    def _learn(self, error: Error) -> None:
        message = error.message
        if match := _MISSING.match(message):
            self._declare(match[1], error.composed_arity)
        elif match := _NO_FIELD.match(message):
            struct = self._declared.get(key := self._key(match[2]))
            if isinstance(struct, _Struct):
                struct.fields[match[1]] = self._unknown_field(match[1], key)
        elif match := _NO_FUNCTION.match(message):
            self._declared[match[2]] = _OPAQUE_TYPE if match[1] == "type" else self._constant()
        elif _NO_TYPE.match(message):
            if isinstance(self._declared.get(error.name), _Struct):
                self._declared[error.name] = self._constant()
        elif match := _EXPECTED.match(message) or _INCOMPATIBLE.match(message):
            expected, found = (one.replace("comptime_int", "i64") for one in match.groups())
            for unknown, known in ((found, expected), (expected, found)):
                said = unknown.startswith(f"{NAME}.") and _NAMEABLE.fullmatch(known)
                if said and self._becomes(unknown.removeprefix(f"{NAME}."), known.replace(f"{NAME}.", "")):
                    return
        elif match := _ARITY.match(message):
            if here := _DECLARED_HERE.search(error.details):
                function = self._declared[here[1]]
                assert isinstance(function, _Function)
                function.parameters = [_parameter([error.call], index) for index in range(int(match[1]))]
        elif match := _OPAQUE.match(message):
            if self._declared.get(key := self._key(match[1])) is _OPAQUE_TYPE:
                self._declared[key] = _Struct({"ptr": HANDLE})
        elif match := _EXPECTED_KIND.match(message):
            self._becomes(match[2], _KINDS.get(match[1], HANDLE))
        elif match := _NO_POINTER.match(message):
            self._becomes(match[1], HANDLE)
        elif match := _IGNORED.match(message):
            self._becomes(match[1], "void")
        elif match := _NOT_INDEXED.match(message):
            self._becomes(match[1], "[*c]u8")

    def _becomes(self, name: str, kind: str) -> bool:
        """Take the type for what so far had a type of its own, as its uses did not say which; whether that is so."""
        name, kind = self._key(name), re.sub(r"\bstruct_(\w+)", lambda found: self._key(found[0]), kind)
        declared = self._declared.get(name)
        # what has fields of its own must stay a struct
        is_unknown = name.startswith(("result_of_", "field_")) or (
            kind == "i64" and declared == _Struct({"ptr": HANDLE})
        )
        if name == kind or not is_unknown or not isinstance(declared, _Struct):
            return False
        self._declared[name] = kind
        return True

    def _unknown_field(self, name: str, of: str) -> str:
        if name == "ptr":
            return HANDLE
        unknown = _FIELD.format(name, of)
        self._declared.setdefault(unknown, _Struct())
        return unknown

    def _constant(self) -> str:
        """Another one each time: the tags of an enum must differ."""
        self._constants += 1
        return str(self._constants)

    def _key(self, name: str) -> str:
        """A type's name as it is declared here, from its name as zig gives it."""
        return name.removeprefix("struct_")

    def _declare(self, name: str, arity: int = 1) -> None:
        name = self._key(name)
        if name in self._declared:
            return
        uses = list(self._uses(name))
        calls = [use for use in uses if use.arguments is not None]
        if calls:
            counts = max(len(use.arguments or []) for use in calls)
            parameters = [_parameter(calls, index) for index in range(counts)]
            result = next((kind for use in calls if (kind := use.result())), "")
            self._declared[name] = _Function(parameters, result or self._unknown_result(name, calls))
        elif any(use.is_type() for use in uses):
            self._declared[name] = _OPAQUE_TYPE
        else:  # a function that is handed on, or whose name is put together: how it is called is seen elsewhere
            self._declared[name] = _Function(["anytype"] * arity, self._unknown_result(name, uses))

    def _unknown_result(self, name: str, uses: list[_Use]) -> str:
        unknown = _RESULT.format(name)
        self._declared[unknown] = _Struct({"ptr": HANDLE} if any(use.takes_ptr() for use in uses) else {})
        return unknown

    def _uses(self, name: str) -> Iterator[_Use]:
        for text, alias in self._sources:
            for match in re.finditer(rf"(?<![\w.]){re.escape(alias)}\.{name}\b", text):
                yield _Use(text, match.start(), match.end())


@dataclass(frozen=True)
class _Use:
    """One use of a name in a source: where it begins and ends."""

    text: str
    start: int
    end: int

    @property
    def arguments(self) -> list[str] | None:
        """Of a call; None for anything else."""
        if self.text[self.end : self.end + 1] != "(":
            return None
        return _split(self.text, self.end)[0]

    @property
    def behind(self) -> str:
        """The rest of the source, behind the call's arguments if it is one."""
        if self.text[self.end : self.end + 1] != "(":
            return self.text[self.end : self.end + 80]
        end = _split(self.text, self.end)[1]
        return self.text[end : end + 80]

    @property
    def before(self) -> str:
        """The line up to the use."""
        return self.text[max(self.text.rfind("\n", 0, self.start), 0) : self.start]

    def takes_ptr(self) -> bool:
        return re.match(r"\.ptr\b", self.behind) is not None

    def is_type(self) -> bool:
        """Whether it stands behind what only a type is behind."""
        return re.search(r"(?:[*?\]:]|const|\(comptime \w+: type,) ?$", self.before) is not None

    def is_tag(self) -> bool:
        """Whether it is the value of an enum's tag."""
        return _TAG.match(f"{self.before}x,") is not None and self.behind.startswith(",")

    def tags_before(self) -> int:
        """How many tags stand in the lines right before: the number C gives such a one."""
        lines = self.text[: self.text.rfind("\n", 0, self.start)].splitlines()
        return next((count for count, line in enumerate(reversed(lines)) if not _TAG.match(line)), len(lines))

    def result(self) -> str:
        """The type that the call must have here; empty if the text alone does not say."""
        if self.takes_ptr():
            return ""
        if re.fullmatch(r"\s*(?:defer |errdefer )?", self.before) and self.behind.startswith(";"):
            return "void"
        if cast := _RESULT_CAST.search(self.before):
            return {"intCast": "i64", "floatCast": "f64"}.get(cast[1], HANDLE if cast[1] in _CAST_TO else "")
        if re.search(r"\b(?:if|while) \($", self.before):
            return "bool"
        return ""


def read_errors(said: str, folder: Path) -> list[Error]:
    """The errors in what zig printed, run in that folder."""
    lines = said.splitlines()
    starts = [(index, match) for index, line in enumerate(lines) if (match := _ERROR.match(line))]
    ends = [*(index for index, _ in starts[1:]), len(lines)]
    return [
        Error((folder / match[1]).resolve(), int(match[2]), int(match[3]), match[4], "\n".join(lines[start + 1 : end]))
        for (start, match), end in zip(starts, ends, strict=bool(starts))
    ]


def _text(name: str, one: _Struct | _Function | str) -> str:
    if isinstance(one, _Function):
        return one.text(name)
    what = one if isinstance(one, str) else one.text()
    if name.startswith(("result_of_", "field_")):
        return f"pub const {name} = {what};\n"
    # as zig translates C: ZML reads the name of a struct from that of its type
    return f"pub const struct_{name} = {what};\npub const {name} = struct_{name};\n"


def _aliases(text: str, absent: Iterable[str]) -> Iterator[str]:
    for name in absent:
        for match in re.finditer(rf'const (\w+) = @import\("{re.escape(name)}"\)', text):
            yield match[1]


def _parameter(calls: list[_Use], index: int) -> str:
    """What an argument is cast to in a call must be said; else it may be anything."""
    for use in calls:
        arguments = use.arguments or []
        if index < len(arguments) and (cast := _CAST.search(arguments[index])):
            return _CAST_TO[cast[1]]
    return "anytype"


def _split(text: str, start: int) -> tuple[list[str], int]:
    """The parts between the bracket at `start` and the one that closes it, at its commas; and where it ends."""
    parts, depth, begin, index = [], 0, start + 1, start
    while index < len(text):
        character = text[index]
        if character == '"':
            index = _string_end(text, index)
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if not depth:
                break
        elif character == "," and depth == 1:
            parts.append(text[begin:index].strip())
            begin = index + 1
        index += 1
    last = text[begin:index].strip()
    return parts + [last] * bool(last), index + 1


def _string_end(text: str, start: int) -> int:
    index = start + 1
    while index < len(text) and text[index] != '"':
        index += 2 if text[index] == "\\" else 1
    return index
