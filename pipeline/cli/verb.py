"""What a verb of the command line is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

Verb = Callable[[argparse.Namespace], object]
"""does it; what it gives is the exit code"""
NO_STATUS = "do not ask DVC whether results are up to date (quicker; nothing is then called verified)"
RECIPES_HELP = "a recipe's name: the file recipes/NAME.yaml; all recipes if none is named"
if TYPE_CHECKING:
    Group = argparse._SubParsersAction[Any]


class Add(Protocol):
    """Adds a verb with its one-line summary, and what to type for example."""

    def __call__(self, name: str, summary: str, *, example: str, more: str = "") -> argparse.ArgumentParser: ...


def example_of(*commands: str) -> str:
    """What a verb's help ends with."""
    return "\n".join(["example:", *(f"  {command}" for command in commands)])


class Wrapped(argparse.HelpFormatter):
    """Wraps a description, and leaves an example as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example:") else super()._fill_text(text, width, indent)
