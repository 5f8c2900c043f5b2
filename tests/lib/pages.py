"""The pages that people read: what they have them type, and where their links lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lib.copied import ROOT

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_INTO = re.compile(r"`([\w./-]+\.\w+)`[^`]*:\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, without its indent."""

    language: str
    text: str
    into: str = ""
    """the file that the sentence before it has its text put into"""


def pages() -> list[Path]:
    """Every page that is written for people, the examples' own included."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return sorted(path for path in found if not {"build", "_build"} & set(path.parts))


def blocks(page: str) -> Iterator[Block]:
    for fence in _FENCE.finditer(page):
        body = re.sub(f"^{fence['indent']}", "", fence["body"], flags=re.MULTILINE)
        into = _INTO.search(page[: fence.start()])
        yield Block(fence["language"], body, into[1] if into else "")


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page)


def typed(page: str, program: str = "recast") -> Iterator[str]:
    """What follows the program's name in each command that a page has its reader type."""
    for block in blocks(page):
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
            found = re.match(rf"(\$ )?(?:\./|\.venv/bin/)?{program} (.+)", line)
            if found and (found[1] or block.language == "sh"):
                yield found[2]


def named(page: str) -> list[str]:
    """What follows `recast` in each command that a sentence or a table names."""
    return re.findall(r"`(?:\./)?recast ([a-z][^`]*)`", prose(page))


def links(page: str) -> list[str]:
    """Where links lead, as they are written; those of images too."""
    return re.findall(r"(?<!`)\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`", "code", prose(page)))


def anchors(page: str) -> set[str]:
    """The headings of a page as GitHub makes them into anchors."""
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#{1,6} (.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        count = found[name] = found.get(name, -1) + 1
        made.add(f"{name}-{count}" if count else name)
    return made
