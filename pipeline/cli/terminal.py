"""What is said on the terminal: errors and warnings on standard error, answers on standard output."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# what a name or a message of others may hold that is no text
_COMMANDS = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
# where a line says who speaks, or which file it is about
_LINE = re.compile(r"^(recast: (?P<warning>warning:)?|[^ :]+:\d+:\d+:)")


def print_error(text: str) -> None:
    """On standard error, without what would command the terminal; on a terminal that can, what matters is coloured."""
    plain = _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)
    print(_coloured(plain) if _shows_colour() else plain, file=sys.stderr)


def _shows_colour() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def _coloured(text: str) -> str:
    """The beginning of each line that says where, and of ours, in bold; what is wrong in red, a warning in yellow."""
    return "\n".join(_LINE.sub(_in_colour, line) for line in text.split("\n"))


def _in_colour(found: re.Match[str]) -> str:
    is_warning = found["warning"] is not None
    return f"\x1b[1;{33 if is_warning else 31}m{found[0]}\x1b[0m"


def warn(text: str) -> None:
    if text:
        print_error(text)


def say(text: str) -> None:
    print(f"recast: {text}", flush=True)


def note(text: str) -> None:
    """For who waits; standard output is the answer's."""
    print(f"recast: {text}", file=sys.stderr, flush=True)


def console() -> Console:
    from rich.console import Console

    # outside a terminal a path must stay in one piece, whatever width rich assumes
    return Console() if sys.stdout.isatty() else Console(width=160)
