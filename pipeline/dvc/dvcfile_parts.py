"""dvc.yaml taken apart by lines, what Recast wrote and what is the user's, and put together again.

The user's lines are kept as they are, comments and order included. Nothing is marked as Recast's: an entry is, if it
reads as Recast writes it. By lines, since ruamel.yaml takes seven seconds to load and write the file of fifty recipes
with its comments.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from recast.pipeline.core.address import Address, recipe_of_dvc_name
from recast.pipeline.core.errors import Problem, RecastError, RecipeError
from recast.pipeline.core.layout import ARTIFACTS, GUARD, METRICS, RECIPES

DVCFILE = "dvc.yaml"
MAPPINGS = ("stages", "artifacts")
LISTS = ("metrics", "plots")
SECTIONS = ("stages", "metrics", "plots", "artifacts")
"""those Recast writes into, in the order of a file that is its own"""

_HEADER = re.compile(r"""(?P<quote>["']?)(?P<key>[^\s"'#:,{}\[\]&*!|>%@`][^"'#:]*?)(?P=quote)\s*:(?P<value>\s.*)?$""")
_NOTHING = re.compile(r"\s*(\{\s*\}|\[\s*\]|null|~)?\s*(#.*)?")
_COMMAND = re.compile(r"(\./)?recast stage (?P<recipe>[A-Za-z0-9_]+)( (?P<within>[A-Za-z0-9_/]+))?")
_PLOT = re.compile(rf"- ['\"]?{ARTIFACTS}/(?P<path>[^'\":]+)['\"]?:$")
_TITLE = re.compile(r"title:\s*['\"]?(?P<id>[^:'\"\s]+):(\s|$)")
_CONFLICT = re.compile(r"(<{7}|\|{7}|={7}|>{7})( |$)")
_SLOT = "recast-slot"
"""stands for Recast's entries of a section while the rest is read"""


class Inseparable(RecastError):
    """The file is valid, and yet not written in lines that can be told apart."""


@dataclass
class Entry:
    """One entry of a section: its lines in the file, from `start` to the last that holds anything."""

    section: str
    start: int
    end: int
    indent: int
    lines: list[str]
    """what holds anything, indented as Recast indents it"""

    @property
    def text(self) -> str:
        """As Recast would have written it."""
        return "\n".join(self.lines) + "\n"

    @property
    def name(self) -> str:
        """The key, of an entry of a mapping."""
        return self.lines[0].strip().partition(":")[0].strip("'\"")


@dataclass
class Parts:
    """A dvc.yaml, taken apart."""

    lines: list[str]
    ours: dict[str, list[Entry]] = field(default_factory=lambda: {section: [] for section in SECTIONS})
    theirs: dict[str, list[Entry]] = field(default_factory=lambda: {section: [] for section in SECTIONS})
    headers: dict[str, int] = field(default_factory=dict)
    """top-level key -> its line"""
    ends: dict[str, int] = field(default_factory=dict)
    """of the sections: the last line that is theirs, be it a comment in an entry"""
    dropped: set[int] = field(default_factory=set)
    """lines that are neither's: marks of a merge, and what it doubled"""
    disputed: set[int] = field(default_factory=set)
    """lines between marks of a merge"""

    @property
    def head(self) -> str:
        """What stands above the first section."""
        first = min(self.headers.values(), default=len(self.lines))
        return "".join(f"{line}\n" for line in self.lines[:first])

    def text_of(self, section: str) -> str:
        """Recast's entries of the section."""
        return "".join(entry.text for entry in self.ours[section])

    def document(self) -> dict[str, Any]:
        """What is Recast's, as plain values."""
        text = "".join(f"{section}:\n{self.text_of(section)}" for section in SECTIONS if self.ours[section])
        return {"stages": {}, **(YAML(typ="safe").load(text) or {})}

    def wholly_ours(self) -> bool:
        """Whether the user has nothing in the file but comments above all else."""
        first = min(self.headers.values(), default=len(self.lines))
        return not self.kept(first)

    def kept(self, start: int = 0) -> list[int]:
        """The lines, from one on, that are not Recast's, without blank ones and the headers of its sections."""
        gone = self.gone() | {self.headers[section] for section in SECTIONS if section in self.headers}
        return [number for number in range(start, len(self.lines)) if self.lines[number].strip() and number not in gone]

    def gone(self) -> set[int]:
        """The lines that are Recast's. A comment among them is not."""
        found = set(self.dropped)
        for entries in self.ours.values():
            for entry in entries:
                found.update(
                    number
                    for number in range(entry.start, entry.end + 1)
                    if not self.lines[number].lstrip().startswith("#")
                )
        return found


def take_apart(text: str, needed: Mapping[str, Collection[str]]) -> Parts:
    """The file's parts. `needed`: the names and metrics, by section, that Recast is about to write.

    A file written in another style is first written anew in lines, which keeps its comments. Raises RecastError if the
    file cannot be read, RecipeError for names of the user's that Recast needs.
    """
    try:
        parts = _by_lines(text)
    except Inseparable:
        parts = _by_lines(_in_lines(text))
    _tell_apart(parts, needed)
    _refuse_conflicts(parts)
    _refuse_needed(parts, needed, text)
    if not parts.wholly_ours():
        _check_theirs(parts, text)
    return parts


def put_together(parts: Parts, fresh: Mapping[str, str]) -> str:
    """The file with Recast's entries, by section, in place of those it has, and all else as it is."""
    slots = {section: f"  {_SLOT}: {{}}\n" if section in MAPPINGS else f"- {_SLOT}\n" for section in fresh}
    seen = _loaded(_spliced(parts, slots))
    for section in slots:
        found = seen[section] if isinstance(seen, dict) and section in seen else ()
        if _SLOT not in found:
            raise RecastError(f"{DVCFILE}: nothing can be added to '{section}'", _as_block(section))
        if isinstance(found, list):
            found.remove(_SLOT)
        elif isinstance(found, dict):
            del found[_SLOT]
    if _filled(seen) != _filled(_loaded(_spliced(parts, {}))):
        message = f"{DVCFILE}: Recast's entries cannot be added without changing yours"
        raise RecastError(message, "end no text with '|+', and each section with an entry of plain lines")
    return _spliced(parts, fresh)


def _spliced(parts: Parts, fresh: Mapping[str, str]) -> str:
    gone = parts.gone()
    at: dict[int, str] = {}
    appended = []
    for section, text in fresh.items():
        if section not in parts.headers:
            appended += [f"{section}:", text.rstrip("\n")]
            continue
        entries = [*parts.ours[section], *parts.theirs[section]]
        own = 2 if section in MAPPINGS else 0
        block = _indented(text, (entries[0].indent if entries else own) - own)
        first = min((entry.start for entry in parts.ours[section]), default=None)
        at[parts.ends[section] + 1 if first is None else first] = block
    ours = {entry.end: entry.indent for entries in parts.ours.values() for entry in entries}
    ours |= {entry.start: entry.indent for entries in parts.ours.values() for entry in entries}
    lines = []
    depth: int | None = None
    for number, line in enumerate([*parts.lines, ""]):
        if number in at:
            lines.append(at[number])
        if number in ours:
            depth = ours[number]
        elif line.strip().startswith("#") and depth is not None and line.startswith(" " * depth):
            # as deep as it was, it could become a part of a text of the user's that stands before it now
            line = " " * depth + line.strip()
        elif line.strip() and number not in gone:
            depth = None
        header = next((key for key in SECTIONS if parts.headers.get(key) == number), None)
        if header and not parts.theirs[header] and header not in fresh:
            depth = 0
            continue
        if number not in gone:
            lines.append(_bare(line) if header else line)
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join([*lines, *appended]) + "\n" if lines or appended else ""


def _indented(text: str, by: int) -> str:
    lines = text.rstrip("\n").split("\n")
    return "\n".join(" " * by + line if by >= 0 else line[-by:] for line in lines)


def _bare(header: str) -> str:
    """The header of a section without a value that says that nothing is in it."""
    found = _HEADER.match(header)
    value = found["value"] or "" if found else ""
    nothing = _NOTHING.fullmatch(value)
    if not nothing or not nothing[1]:
        return header
    return header[: len(header) - len(value)] + value.replace(nothing[1], "", 1).rstrip()


def _by_lines(text: str) -> Parts:
    parts = Parts(text.removeprefix("\ufeff").removesuffix("\n").split("\n"))
    section, hunk = "", False
    entry: Entry | None = None
    indent: int | None = None
    for number, line in enumerate(parts.lines):
        if line and line[0] in "<|=>" and _CONFLICT.match(line):
            hunk = line[0] != ">"
            parts.dropped.add(number)
            continue
        if hunk:
            parts.disputed.add(number)
        rest = line.lstrip(" ")
        if not rest:
            continue
        depth = len(line) - len(rest)
        if rest[0] == "#":
            # in a text of several lines it may be a part of that
            if section in SECTIONS and indent is not None and depth > indent:
                parts.ends[section] = number
            continue
        if depth == 0 and not _is_item(rest):
            if rest.startswith(("---", "%")) and not parts.headers:
                continue
            section, entry, indent = _section(parts, number), None, None
            continue
        if section not in SECTIONS:
            if not section:
                raise Inseparable(f"{DVCFILE} does not begin with a key", "start it with 'stages:'")
            continue
        known = parts.ours[section]
        if indent is None:
            indent = known[0].indent if known else depth
        if depth < indent:
            raise Inseparable(f"{DVCFILE}: the entries of '{section}' are not indented alike", _as_block(section))
        own = 2 if section in MAPPINGS else 0
        shown = line[indent - own :] if indent >= own else " " * (own - indent) + line
        if depth == indent:
            if _is_item(rest) != (section in LISTS):
                kind = "list" if section in LISTS else "mapping"
                raise Inseparable(f"{DVCFILE}: what stands in '{section}' is no {kind}", _as_block(section))
            entry = Entry(section, number, number, indent, [shown])
            known.append(entry)
        elif entry:
            entry.lines.append(shown)
            entry.end = number
        parts.ends[section] = number
    return parts


def _is_item(rest: str) -> bool:
    return rest == "-" or rest.startswith("- ")


def _section(parts: Parts, number: int) -> str:
    found = _HEADER.match(parts.lines[number])
    if not found:
        raise Inseparable(f"{DVCFILE}: '{parts.lines[number][:40]}' is no key", "start it with 'stages:'")
    key = found["key"]
    if key in SECTIONS and not _NOTHING.fullmatch(found["value"] or ""):
        raise Inseparable(f"{DVCFILE}: '{key}' is written in one line", _as_block(key))
    if key in parts.headers:
        if number not in parts.disputed:
            raise Inseparable(f"{DVCFILE}: '{key}' stands in it twice", "write it once")
        parts.dropped.add(number)
        return key
    parts.headers[key] = number
    parts.ends[key] = number
    return key


def _in_lines(text: str) -> str:
    """The same file with an entry a line at the least, its comments kept."""
    yaml = YAML()
    yaml.width = 4096
    yaml.default_flow_style = False
    try:
        document = yaml.load(text)
    except YAMLError as error:
        raise unreadable(error) from error
    if not isinstance(document, CommentedMap):
        raise RecastError(f"{DVCFILE} cannot be read: it is no mapping", "start it with 'stages:'")
    document.fa.set_block_style()
    for section in SECTIONS:
        if hasattr(document.get(section), "fa"):
            document[section].fa.set_block_style()
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()


def _tell_apart(parts: Parts, needed: Mapping[str, Collection[str]]) -> None:
    """Move the user's entries from `ours`, where all are, to `theirs`."""
    stages = {id(entry) for entry in parts.ours["stages"] if _is_our_stage(entry, needed.get("stages", ()))}
    ours = [entry for entry in parts.ours["stages"] if id(entry) in stages]
    recipes = {recipe_of_dvc_name(entry.name) for entry in ours}
    # the stage that gathers a recipe's results reads what is measured, and nothing else
    measured = {
        f"{line.strip()[2:].strip()}/{METRICS}"
        for entry in ours
        if "-" not in entry.name
        for line in entry.lines
        if line.strip().startswith("- ")
    }
    measured |= set(needed.get("metrics", ()))
    tests: dict[str, Callable[[Entry], bool]] = {
        "stages": lambda entry: id(entry) in stages,
        "metrics": lambda entry: entry.lines[0][2:].strip().strip("'\"") in measured and len(entry.lines) == 1,
        "plots": _is_our_plot,
        "artifacts": lambda entry: _is_our_artifact(entry, recipes),
    }
    for section, is_ours in tests.items():
        entries = parts.ours[section]
        parts.ours[section] = [entry for entry in entries if is_ours(entry)]
        mine = {id(entry) for entry in parts.ours[section]}
        parts.theirs[section] = [entry for entry in entries if id(entry) not in mine]


def _is_our_stage(entry: Entry, needed: Collection[str]) -> bool:
    """Whether its command is that of a stage, and its name that stage's; or a name that Recast needs now."""
    command = _COMMAND.fullmatch(entry.lines[1].removeprefix("    cmd: ")) if len(entry.lines) > 1 else None
    if not command and "recast stage" in entry.text:
        # not the first line of it, quoted, or in several lines
        try:
            said = YAML(typ="safe").load(entry.text)[entry.name].get("cmd")
        except (YAMLError, AttributeError, KeyError, TypeError):
            return False
        command = _COMMAND.fullmatch(said) if isinstance(said, str) else None
    if not command:
        return False
    return entry.name in needed or entry.name == Address(command["recipe"], command["within"]).dvc_name


def _is_our_plot(entry: Entry) -> bool:
    place = _PLOT.match(entry.lines[0])
    title = next(filter(None, (_TITLE.match(line.strip()) for line in entry.lines[1:])), None)
    return bool(place and title and place["path"].startswith(f"{title['id']}/"))


def _is_our_artifact(entry: Entry, recipes: Collection[str]) -> bool:
    out = f"{ARTIFACTS}/{entry.name.replace('-', '/')}/"
    path = next((line.strip()[5:].strip() for line in entry.lines if line.strip().startswith("path:")), "")
    return recipe_of_dvc_name(entry.name) in recipes and path.strip("'\"").startswith(out)


def _refuse_conflicts(parts: Parts) -> None:
    """Marks of a merge go with Recast's entries; among the user's, they are for the user to resolve."""
    if parts.disputed.isdisjoint(theirs := parts.kept()):
        return
    number = min(parts.disputed.intersection(theirs))
    message = f"{DVCFILE}:{number + 1}: a merge conflict in what Recast did not write"
    raise RecastError(message, "resolve it, and then run './recast sync'")


def _refuse_needed(parts: Parts, needed: Mapping[str, Collection[str]], text: str) -> None:
    problems = []
    for section, what in (("stages", "a stage"), ("artifacts", "an artifact")):
        for entry in parts.theirs[section]:
            if entry.name in needed.get(section, ()):
                recipe = recipe_of_dvc_name(entry.name)
                message = f"{what} of your own bears the name '{entry.name}', which Recast needs"
                remedy = "rename yours"
                if recipe != GUARD:
                    message, remedy = f"{message} for recipe '{recipe}'", f"{remedy}, or {RECIPES}/{recipe}.yaml"
                problems.append(Problem(DVCFILE, *_place(entry, text), message, remedy))
    if problems:
        raise RecipeError(problems)


def _place(entry: Entry, text: str) -> tuple[int, int]:
    """Line and column of an entry in the file, though it was written anew in lines to be taken apart."""
    lines = text.split("\n")
    if entry.start < len(lines) and lines[entry.start].strip().startswith(entry.lines[0].strip()):
        return entry.start + 1, entry.indent + 1
    found = re.search(rf"\b{re.escape(entry.name)}\b", text)
    before = text[: found.start()] if found else ""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _check_theirs(parts: Parts, text: str) -> None:
    """RecastError if the user's part cannot be read, or was not told apart as YAML tells it."""
    try:
        theirs = YAML(typ="safe").load(_spliced(parts, {})) or {}
        if not isinstance(theirs, dict):
            raise RecastError(f"{DVCFILE} cannot be read: it is no mapping", "start it with 'stages:'")
    except YAMLError:
        # again as it stands, for the place
        _loaded(text)
        raise
    for section in SECTIONS:
        found = theirs.get(section) or ()
        if len(found) != len(parts.theirs[section]):
            message = f"{DVCFILE}: the entries of '{section}' cannot be told apart"
            raise RecastError(message, _as_block(section))
    for entry in parts.theirs["stages"]:
        said = theirs["stages"].get(entry.name)
        if not isinstance(said, dict) or not {"cmd", "foreach"} & said.keys():
            message = f"{DVCFILE} cannot be read: line {entry.start + 1}: stage '{entry.name}' has no command"
            raise RecastError(message, "give it a 'cmd'")


def _as_block(section: str) -> str:
    return f"write '{section}:' alone on a line, and each entry on lines of its own below"


def _loaded(text: str) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        raise unreadable(error) from error


def unreadable(error: YAMLError) -> RecastError:
    """What is wrong with a dvc.yaml that is no YAML, and the remedy."""
    said, place = "it is no YAML", ""
    if isinstance(error, MarkedYAMLError):
        said = " ".join(part for part in (error.context, error.problem) if part).partition("\n")[0] or said
        if mark := error.problem_mark or error.context_mark:
            place = f"line {mark.line + 1}: "
    remedy = "mend it, or restore it from git; './recast sync' writes anew what is Recast's in it"
    return RecastError(f"{DVCFILE} cannot be read: {place}{said}", remedy)


def _filled(document: Any) -> dict[str, Any]:
    """Without the sections that hold nothing."""
    return {key: value for key, value in (document or {}).items() if value or key not in SECTIONS}


def same_entries(one: Iterable[Entry], other: Iterable[Entry]) -> bool:
    """Whether they say the same in the same order; DVC, when it writes the file, may break lines elsewhere."""
    first, second = list(one), list(other)
    return len(first) == len(second) and all(
        mine.lines == theirs.lines or _loaded(mine.text) == _loaded(theirs.text)
        for mine, theirs in zip(first, second, strict=True)
    )
