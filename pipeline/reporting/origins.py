"""Where each value of a stage's params was written: the file, and the line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import Problem
from recast.pipeline.planning.plan import PlannedStage
from recast.pipeline.recipes.document import Document, read_document


@dataclass(frozen=True)
class Value:
    """One param as it was resolved."""

    name: str
    value: Any
    file: str
    """where it is written; empty where it is the stage's own default, or what an installed stage set says"""
    line: int | None


class Origins:
    """Reads each file once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._documents: dict[str, Document | None] = {}

    def of(self, stage: PlannedStage) -> tuple[Value, ...]:
        """Every param of the stage with the place that has the last word on it."""
        places: dict[str, tuple[str, int | None]] = {}
        for file, key in stage.tracked:  # from the weakest to the strongest
            document = self._document(file)
            path = tuple(key.split("."))
            said = _at(document, path)
            if document is None or said is None:
                continue
            names = said if isinstance(said, Mapping) and path[-1] not in stage.params else {path[-1]: said}
            for name in names:
                full = (
                    path
                    if path[-1] == name and name not in (said if isinstance(said, Mapping) else ())
                    else (
                        *path,
                        name,
                    )
                )
                if name in stage.params:
                    places[name] = file, document.positions.get(full, (None, 0))[0]
        return tuple(Value(name, value, *places.get(name, ("", None))) for name, value in stage.params.items())

    def _document(self, file: str) -> Document | None:
        if file not in self._documents:
            problems: list[Problem] = []
            is_yaml = file.endswith((".yaml", ".yml"))
            # params.yaml holds what is the user's own, too
            concerns = (lambda key: key == "stages") if file == "params.yaml" else None
            self._documents[file] = read_document(self._root, file, problems, concerns) if is_yaml else None
        return self._documents[file]


def _at(document: Document | None, path: tuple[str, ...]) -> Any:
    found: Any = document.values if document else None
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
