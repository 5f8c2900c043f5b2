"""YAML text -> plain values that remember the line and column they came from.

Values are read as DVC reads them (YAML 1.2, by ruamel.yaml's safe constructors): what a recipe says
is then what DVC tracks.
"""

from __future__ import annotations

import math
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLWarning
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from recast.pipeline.core.errors import Problem
from recast.pipeline.recipes.value_words import kind, quoted, shortened, shown
from recast.stages.common.spelling import did_you_mean

# Far above any real recipe, far below what an alias bomb expands to.
MOST_VALUES = 10_000
DEEPEST = 50
MOST_BYTES = 100_000
LARGEST = 2**63 - 1
"""of a whole number: what the tools a recipe is for can count"""

_WORDS = {"tag:yaml.org,2002:bool": ("true", "false"), "tag:yaml.org,2002:null": ("", "~", "null")}
"""what these tags can be given to; ruamel takes `!!bool yes` and `!!null x` as well"""
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
# other readers take 012 for ten, and leave 1_000, 0o17 or 0b11 a text
_PLAIN_NUMBER = re.compile(
    r"0x[0-9a-fA-F]+|[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?"
)
# surrogates, and what commands a terminal or ends a C string; a tab and a line's end are text
_NO_TEXT = re.compile("[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

KeyPath = tuple[str | int, ...]
Position = tuple[int, int]


@dataclass(frozen=True)
class Document:
    """One YAML file: its values and where each key path stands (line, column, from 1)."""

    file: str
    values: Mapping[str, Any]
    positions: Mapping[KeyPath, Position]
    head: tuple[str, ...] = ()
    """the lines of comment it begins with, without their mark"""

    def problem(self, path: KeyPath, message: str, remedy: str = "") -> Problem:
        """A problem at the key path, or at its nearest parent that stands in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        line, column = self.positions.get(path, (1, 1))
        return Problem(self.file, line, column, message, remedy)

    def section(self, path: KeyPath, problems: list[Problem], remedy: str = "") -> dict[str, Any]:
        """The mapping at the key path; empty if absent or null, a problem if it is anything else."""
        value: Any = self.values
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        message = f"'{path[-1]}' must be a mapping, not {shown(value)}"
        problems.append(self.problem(path, message, remedy or _as_mapping(str(path[-1]), value)))
        return {}

    def refuse_unknown(self, path: KeyPath, known: tuple[str, ...], problems: list[Problem]) -> None:
        """Report every key of the mapping at the key path that is not a known one."""
        for key in self.section(path, []):
            if key not in known:
                problems.append(self.problem((*path, key), f"unknown key '{shortened(key)}'", did_you_mean(key, known)))


def _as_mapping(key: str, value: object) -> str:
    """How to write what stands below the key as a mapping."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return f"write '{key}: {{{', '.join(f'{item}: {{}}' for item in value[:3])}}}'"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "write it as a mapping: without brackets, and without a '-' before the keys"
    return f"write '{key}: {{KEY: value}}', or '{key}: {{}}' to take it as it is"


def read_document(
    root: Path,
    file: str,
    problems: list[Problem],
    concerns: Callable[[str], bool] | None = None,
    draft: str | None = None,
) -> Document | None:
    """Read `file` (relative to `root`), or a draft of it; None, with the reasons added to `problems`, if it is no use.

    `concerns`: which of its keys are read; the others may hold whatever YAML can.
    """
    found: list[Problem] = []

    def refuse(message: str, remedy: str = "", position: Position = (1, 1)) -> None:
        found.append(Problem(file, *position, message, remedy))

    text = _read_text(root, file, refuse) if draft is None else draft
    if text is not None and (root_node := _compose(text, refuse)) is not None:
        reader = _Reader(file, found)
        if concerns and isinstance(root_node, MappingNode):
            root_node.value = [pair for pair in root_node.value if concerns(str(pair[0].value))]
        values = reader.read(root_node, (), 0)
        if not found and not isinstance(values, dict):
            refuse(f"must be a mapping, not {kind(values)}", "start with 'key: value' lines", _position(root_node))
        if not found:
            return Document(file, values, reader.positions, tuple(_head(text)))
    problems.extend(found)
    return None


def _head(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line.removeprefix("#").strip()


def _read_text(root: Path, file: str, refuse: Any) -> str | None:
    """The file's text; None, with the reason told to `refuse`, if it is no plain file of text inside the repository."""
    path = root / file
    try:
        # nothing of what lies elsewhere may be shown, not even in a message about it
        if not path.resolve().is_relative_to(root.resolve()):
            refuse("is a link that leads outside the repository", "copy the file in")
            return None
        # a FIFO without a writer would be waited for
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            looks = os.fstat(opened.fileno())
            if not stat.S_ISREG(looks.st_mode):
                refuse(f"is {kind_of_file(looks.st_mode)}, not a file of text", "put a plain file in its place")
                return None
            if looks.st_size > MOST_BYTES:
                refuse(f"is {looks.st_size:,} bytes, too large for a recipe", f"keep it below {MOST_BYTES:,}")
                return None
            return opened.read().decode("utf-8-sig")
    except FileNotFoundError:
        link = path.is_symlink()
        refuse("is a link to nothing" if link else "no such file", "mend the link" if link else "create it")
    except UnicodeDecodeError as error:
        refuse(f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")
    except OSError as error:
        if path.is_dir() or path.is_socket():
            refuse(f"is {kind_of_file(path.stat().st_mode)}, not a file of text", "put a plain file in its place")
        else:
            refuse(f"cannot be read: {error.strerror}", "see who may read it")
    except RuntimeError:  # how Python 3.11 puts it
        refuse("is a link that leads to itself", "put a plain file in its place")
    return None


def kind_of_file(mode: int) -> str:
    """What is there that is no plain file, for a message."""
    names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")


def _position(node: Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _compose(text: str, refuse: Any) -> Node | None:
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent and line.strip() and not line.lstrip().startswith("#"):
            refuse("a tab in the indentation", "YAML allows only spaces there", (number, indent.index("\t") + 1))
            return None
    for number, line in enumerate(lines, start=1):
        if line.startswith("---"):
            break
        if line.startswith("%"):
            refuse("a directive", "drop the line: recipes are YAML 1.2", (number, 1))
            return None
    node: Node | None = None
    try:
        # twice: the pure parser words its errors better and stops at deep nesting, and the C parser is the
        # one DVC reads with; it is stricter (`{name: a:B}`), and what it refuses would fail in the run
        with warnings.catch_warnings():
            warnings.simplefilter("error", YAMLWarning)  # else it is printed, with lines of the file
            for pure in (True, False):
                node = YAML(typ="safe", pure=pure).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        detail = " ".join(part for part in (error.context, error.problem) if part)
        remedy = "check the indentation and quotes on this line; quote text that holds a colon"
        refuse(f"is not valid YAML: {detail}", remedy, position)
        return None
    except YAMLWarning as error:
        places = re.findall(r"line (\d+), column (\d+)", str(error))
        refuse("an anchor that stands above already", "give one of the two another name", _last(places))
        return None
    except RecursionError:
        refuse("is nested too deeply", f"keep it below {DEEPEST} levels")
        return None
    except ReaderError as error:
        before = text[: error.position]
        position = (before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        refuse("is not valid YAML: it holds a character that is no text", "delete it, or write the line anew", position)
        return None
    except Exception as error:  # whatever else the parsers meet in text of others
        refuse(f"is not valid YAML: {shortened(str(error).partition(chr(10))[0])}")
        return None
    if node is None:
        refuse("is empty", "docs/recipes.md has an example of what it holds")
    return node


def _last(places: list[tuple[str, str]]) -> Position:
    return (int(places[-1][0]), int(places[-1][1])) if places else (1, 1)


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
        if isinstance(node, MappingNode | SequenceNode) and node.tag not in _COLLECTIONS:
            # DVC would make a set, an object, or nothing of it
            tag = shortened(str(node.tag).replace("tag:yaml.org,2002:", "!!"))
            self.refuse(node, f"a value tagged {tag} is not supported", "write the value without a tag")
            return None
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
            if key is None or key_node.tag != "tag:yaml.org,2002:str" or _NO_TEXT.search(key):
                shown_key = f", not {quoted(key)}" if key is not None else ""
                remedy = "write it as a word, or quote it"
                if key_node.tag == "tag:yaml.org,2002:int" and not value_node.value:
                    remedy = "decimals follow a point, as in 0.5, and a comma ends a value"  # {mean: 0,5}
                self.refuse(key_node, f"a key must be plain text{shown_key}", remedy)
                continue
            if key in values:
                first = self.positions[(*path, key)]
                message = f"duplicate key '{shortened(key)}' (first on line {first[0]})"
                self.refuse(key_node, message, "keep one of the two")
                continue
            self.positions[(*path, key)] = _position(key_node)
            values[key] = self.read(value_node, (*path, key), depth + 1)
        return values

    def _scalar(self, node: Node) -> Any:
        written = quoted(node.value)
        plain = _WORDS.get(str(node.tag))
        try:
            if plain and node.value.casefold() not in plain:
                raise ValueError
            value = self.constructor.construct_object(node)
        except Exception:  # ruamel's constructors raise whatever the text makes them meet
            tag = shortened(str(node.tag).replace("tag:yaml.org,2002:", "!!"))
            self.refuse(node, f"{written} cannot be read as {tag}", "write the value without a tag")
            return None
        if isinstance(value, date):
            # DVC would keep a date; a recipe means the text it wrote
            self.refuse(node, f"{written} reads as a date", "quote it if it is text")
            return None
        if value is not None and not isinstance(value, bool | int | float | str):
            tag = shortened(str(node.tag).replace("tag:yaml.org,2002:", "!!"))
            self.refuse(
                node, f"{written} is a value of the kind {tag}", "use text, numbers, true/false, lists, mappings"
            )
            return None
        if isinstance(value, str) and _NO_TEXT.search(value):
            self.refuse(node, f"{written} holds a control character", "write plain text")
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(node, value)
        return value

    def _number(self, node: Node, value: int | float) -> int | float | None:
        """The number, if every reader of YAML takes it for the same one."""
        written = quoted(node.value)
        if isinstance(value, float) and not math.isfinite(value):
            self.refuse(node, f"{written} is no usable value", "write a finite number")
            return None
        if isinstance(value, int) and abs(value) > LARGEST:
            self.refuse(
                node, f"the whole number {written} is too large", f"write at most {LARGEST}, or quote it if text"
            )
            return None
        if not _PLAIN_NUMBER.fullmatch(node.value):
            remedy = f"write {value!r}, or quote it if it is text"
            if re.fullmatch(r"0[0-7]+", node.value):
                remedy = f"write {value!r}; or {int(node.value, 8)}, as some read it; or quote it if it is text"
            self.refuse(node, f"{written} is not the same number to every reader of YAML", remedy)
            return None
        return value
