"""The files that `recast init` and `recast new` write, from `templates/`, with what is known of a project filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template

_FOLDER = Path(__file__).parent / "templates"
_PLAIN = re.compile(r"(?!(?i:true|false|null)$)[A-Za-z_][\w-]*([./][\w.-]+)*")
"""a name or path that is the same text in YAML without quotes"""


def as_it_lies(name: str) -> str:
    """The template that has nothing to fill in."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def filled(name: str, values: Mapping[str, str | Sequence[str]]) -> str:
    """The template with its `$names` replaced.

    A line that names something no value is given for is left out, and a heading of which nothing is left; one that
    names a list is repeated for each item.
    """
    lines = [line for line in as_it_lies(name).splitlines() for line in _lines(line, values)]
    kept = [line for place, line in enumerate(lines) if not _is_bare(line, lines[place + 1 :])]
    text = "\n".join(kept)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def scalar(text: str) -> str:
    """The text as YAML reads it, wherever it stands."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _lines(line: str, values: Mapping[str, str | Sequence[str]]) -> Iterator[str]:
    template = Template(line)
    names = template.get_identifiers()
    if not all(values.get(name) for name in names):
        return
    several = next((name for name in names if not isinstance(values[name], str)), None)
    for one in values[several] if several else ("",):
        yield template.substitute({**values, **({several: one} if several else {})})


def _is_bare(line: str, after: Sequence[str]) -> bool:
    """Whether it is a heading below which nothing stands."""
    heading = line.endswith(":") and not line.startswith((" ", "#"))
    return heading and not (after and after[0].startswith(" "))
