"""Where two nested values differ, and values written short enough to read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

# a longer value is shortened
_WIDTH = 80


class Absent(Enum):
    """The value of a key that is not there."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True)
class Difference:
    """One leaf that is not the same; ABSENT before if it was added, ABSENT after if it was removed."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is ABSENT:
            return f"{self.key} is new: {_shown(self.after)}"
        if self.after is ABSENT:
            return f"{self.key} is gone, was {_shown(self.before)}"
        # two long values must still look different
        same = _same(_written(self.before), _written(self.after))
        return f"{self.key} was {_shown(self.before, same)}, is {_shown(self.after, same)}"


def differences(key: str, before: Any, after: Any) -> Iterator[Difference]:
    """Every leaf of two nested mappings that differs, by its dotted key, in the order they are written in."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*after, *before]):
            dotted = f"{key}.{name}" if key else str(name)
            yield from differences(dotted, before.get(name, ABSENT), after.get(name, ABSENT))
    elif before is ABSENT and isinstance(after, Mapping) and after:
        yield from differences(key, {}, after)
    elif after is ABSENT and isinstance(before, Mapping) and before:
        yield from differences(key, before, {})
    # a Python params file may hold tuples, which dvc.lock records as lists
    elif before != (list(after) if isinstance(after, tuple) else after):
        yield Difference(key, before, after)


def leaves(value: Any) -> int:
    """How many leaves a nested value has."""
    return sum(map(leaves, value.values())) if isinstance(value, Mapping) else 1


def _same(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    return next((at for at, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) > 1), 0)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _shown(value: Any, same: int = 0) -> str:
    """The value; if it is long, only what comes after the first `same` characters, and how much there is in all."""
    text = _written(value)
    if len(text) <= _WIDTH:
        return text
    start = same - 10 if same > _WIDTH // 2 else 0
    size = f"{len(value)} characters" if isinstance(value, str) else f"{len(value)} values"
    tail = "…" if start + _WIDTH < len(text) else ""
    return f"{'…' if start else ''}{text[start : start + _WIDTH]}{tail} ({size})"
