"""What a function of the project's own is called with, so that `recast check` finds one that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from recast.stages.base import NamesCode


@dataclass(frozen=True)
class CalledWith(NamesCode):
    """Marks a param that may name a function: what that is given, in order, where the params are these."""

    given: Callable[[Any], Sequence[str]]
    by_name: Callable[[Any], Collection[str]] = lambda params: ()
    """what it is, or may be, given by keyword"""


METRIC = CalledWith(lambda params: ("outputs", "labels"))
"""of the metric that a task names"""
