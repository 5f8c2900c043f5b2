"""YAML text -> plain values that remember the line and column they came from.

Values are read as DVC reads them (YAML 1.2, by ruamel.yaml's safe constructors): what a recipe says
is then what DVC tracks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pipeline.errors import Problem, did_you_mean

# Far above any real recipe, far below what an alias bomb expands to.
MOST_VALUES = 10_000
DEEPEST = 50
MOST_BYTES = 1_000_000

KeyPath = tuple[str | int, ...]
Position = tuple[int, int]


@dataclass(frozen=True)
class Document:
    """One YAML file: its values and where each key path stands (line, column, from 1)."""

    file: str
    values: Mapping[str, Any]
    positions: Mapping[KeyPath, Position]

    def problem(self, path: KeyPath, message: str, remedy: str = "") -> Problem:
        """A problem at the key path, or at its nearest parent that stands in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        line, column = self.positions.get(path, (1, 1))
        return Problem(self.file, line, column, message, remedy)

    def section(self, path: KeyPath, problems: list[Problem]) -> dict[str, Any]:
        """The mapping at the key path; empty if absent or null, a problem if it is anything else."""
        value: Any = self.values
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        problems.append(
            self.problem(path, f"'{path[-1]}' must be a mapping, not {kind(value)}", "write it as 'key: value' lines")
        )
        return {}

    def refuse_unknown(self, path: KeyPath, known: tuple[str, ...], problems: list[Problem]) -> None:
        """Report every key of the mapping at the key path that is not a known one."""
        for key in self.section(path, []):
            if key not in known:
                problems.append(self.problem((*path, key), f"unknown key '{key}'", did_you_mean(key, known)))


def kind(value: object) -> str:
    """What a YAML author calls the type of a value."""
    names = {
        bool: "true/false",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def read_document(root: Path, file: str, problems: list[Problem]) -> Document | None:
    """Read `file` (relative to `root`); None, with the reasons added to `problems`, if it cannot be used."""
    found: list[Problem] = []

    def refuse(message: str, remedy: str = "", position: Position = (1, 1)) -> None:
        found.append(Problem(file, *position, message, remedy))

    try:
        raw = (root / file).read_bytes()
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        refuse("no such file", "create it, or mend the name")
    except OSError as error:
        refuse(f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        refuse(f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")
    else:
        if len(raw) > MOST_BYTES:
            refuse(f"is {len(raw):,} bytes, too large for a recipe", f"keep it below {MOST_BYTES:,}")
        elif (root_node := _compose(text, refuse)) is not None:
            reader = _Reader(file, found)
            values = reader.read(root_node, (), 0)
            if not found and not isinstance(values, dict):
                refuse(f"must be a mapping, not {kind(values)}", "start with 'key: value' lines", _position(root_node))
            if not found:
                return Document(file, values, reader.positions)
    problems.extend(found)
    return None


def _position(node: Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _compose(text: str, refuse: Any) -> Node | None:
    for number, line in enumerate(text.splitlines(), start=1):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent and line.strip() and not line.lstrip().startswith("#"):
            refuse("a tab in the indentation", "YAML allows only spaces there", (number, indent.index("\t") + 1))
            return None
    node: Node | None = None
    try:
        # twice: the pure parser words its errors better and stops at deep nesting, and the C parser is the
        # one DVC reads with; it is stricter (`{name: a:B}`), and what it refuses would fail in the run
        for pure in (True, False):
            node = YAML(typ="safe", pure=pure).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        detail = " ".join(part for part in (error.context, error.problem) if part)
        remedy = "check the indentation and quotes on this line; quote text that holds a colon"
        refuse(f"is not valid YAML: {detail}", remedy, position)
        return None
    except RecursionError:
        refuse("is nested too deeply", f"keep it below {DEEPEST} levels")
        return None
    except (YAMLError, ValueError) as error:
        refuse(f"is not valid YAML: {str(error).splitlines()[0]}")
        return None
    if node is None:
        refuse("is empty", "say at least the dataset and the targets; docs/recipes.md has an example")
    return node


class _Reader:
    """Turns composed nodes into plain values, bounded in number and depth."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.positions: dict[KeyPath, Position] = {}
        self.count = 0
        self.constructor = YAML(typ="safe", pure=True).constructor

    def refuse(self, node: Node, message: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, *_position(node), message, remedy))

    def read(self, node: Node, path: KeyPath, depth: int) -> Any:
        self.count += 1
        if self.count > MOST_VALUES or depth > DEEPEST:
            if not any("expands" in problem.message for problem in self.problems):
                self.refuse(
                    node,
                    f"expands to more than {MOST_VALUES:,} values or {DEEPEST} levels",
                    "remove nested or self-referring aliases (*name)",
                )
            return None
        self.positions.setdefault(path, _position(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self.refuse(key_node, "merge keys (<<) are not supported", "inherit with 'extends' instead")
                continue
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if key is None or key_node.tag != "tag:yaml.org,2002:str":
                self.refuse(key_node, "a key must be plain text", "write it as a word, or quote it")
                continue
            if key in values:
                first = self.positions[(*path, key)]
                self.refuse(key_node, f"duplicate key '{key}' (first on line {first[0]})", "keep one of the two")
                continue
            self.positions[(*path, key)] = _position(key_node)
            values[key] = self.read(value_node, (*path, key), depth + 1)
        return values

    def _scalar(self, node: Node) -> Any:
        try:
            value = self.constructor.construct_object(node)
        except (YAMLError, ValueError, OverflowError):
            self.refuse(
                node, f"cannot read a value tagged {node.tag}", "use plain text, numbers, true/false, lists, mappings"
            )
            return None
        if isinstance(value, date):
            # DVC would keep a date; a recipe means the text it wrote
            self.refuse(node, f"'{node.value}' reads as a date", "quote it if it is text")
            return None
        if isinstance(value, bytes | set) or (isinstance(value, float) and not math.isfinite(value)):
            self.refuse(node, f"'{node.value}' is no usable value", "use plain text, a finite number, true or false")
            return None
        return value
