"""Draws the house from the code, and writes it into the pages that show it: `python docs/draw_house.py [--check]`.

A room is a folder. Its line is what its `__init__.py` says of it, a file's line the first sentence of its docstring.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- the house, by docs/draw_house.py: {} -->", "<!-- end of the house -->"
PAGES = {"docs/design.md": "rooms and files", "CONTRIBUTING.md": "rooms"}
WIDTH = 120


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which of them shows another house; the exit code."""
    stale = []
    for name, kind in PAGES.items():
        page = ROOT / name
        text = page.read_text(encoding="utf-8")
        drawn = with_house(text, kind)
        if drawn != text and "--check" in arguments:
            stale.append(name)
        elif drawn != text:
            page.write_text(drawn, encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)}: not the house as it is; run 'python docs/draw_house.py'", file=sys.stderr)
    return 1 if stale else 0


def with_house(page: str, kind: str) -> str:
    """The page with the picture between its two marks drawn anew. ValueError without them."""
    begin = BEGIN.format(kind)
    found = re.search(f"{re.escape(begin)}.*?{re.escape(END)}", page, re.DOTALL)
    if not found:
        raise ValueError(f"the page has no place for the house: '{begin}' ... '{END}'")
    return page[: found.start()] + f"{begin}\n```text\n{picture(kind)}\n```\n{END}" + page[found.end() :]


def picture(kind: str) -> str:
    """The tree of `pipeline/` and `stages/`, rooms in the order in which they may import each other."""
    lines = []
    for top in ("pipeline", "stages"):
        order = layers(top)
        lines += [f"{top}/", *_wrapped(4, said(ROOT / top)), *_wrapped(4, "  >  ".join(order))]
        rooms = sorted(
            (path for path in (ROOT / top).iterdir() if (path / "__init__.py").is_file()),
            key=lambda path: next(place for place, names in enumerate(order) if path.name in names.split(", ")),
        )
        for room in rooms:
            lines += _room(room, 1, kind == "rooms and files")
        lines += [*_files(ROOT / top, 1, kind == "rooms and files"), ""]
    return "\n".join(lines).rstrip()


def layers(top: str) -> list[str]:
    """The order of a folder's rooms as the contract that is checked has it: each imports only those to its right."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    found = next(one for one in settings["contracts"] if one.get("containers") == [f"recast.{top}"])
    return [layer.replace(" : ", ", ").replace(" | ", ", ") for layer in found["layers"]]


def said(path: Path) -> str:
    """The first sentence of a module's, or of a package's, docstring."""
    file = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def _room(room: Path, depth: int, files: bool) -> Iterator[str]:
    indent = "    " * depth
    yield from _wrapped(len(indent), f"{room.name}/", said(room))
    # of the stages' rooms, the names alone: what a file there does, its stage's page says
    yield from _files(room, depth + 1, files)
    for inner in sorted(path for path in room.iterdir() if (path / "__init__.py").is_file()):
        yield from _room(inner, depth + 1, files)


def _files(folder: Path, depth: int, shown: bool) -> list[str]:
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    if not shown or not files:
        return []
    if ROOT / "stages" in folder.parents:
        return _wrapped(4 * depth, ", ".join(path.stem for path in files))
    return [line for path in files for line in _wrapped(4 * depth, path.stem, said(path))]


def _wrapped(indent: int, head: str, text: str = "") -> list[str]:
    """A name with what is said of it, in two columns."""
    if not text:
        return textwrap.wrap(head, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
    column = max(28, indent + len(head) + 2)
    first = f"{' ' * indent}{head}".ljust(column)
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * column)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
