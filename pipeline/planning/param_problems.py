"""Turns what pydantic says of a stage's params into problems with a place, what may stand there, and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recast.pipeline.core.errors import Problem
from recast.pipeline.planning.value_layer import Layer
from recast.pipeline.recipes.document import Document, KeyPath
from recast.pipeline.recipes.misplaced_keys import belongs
from recast.pipeline.recipes.recipe import SAID_AT_THE_TOP, Recipe
from recast.pipeline.recipes.value_words import allowed, alternatives, hint, resolved, shown
from recast.stages.base import Params, Stage
from recast.stages.common.spelling import did_you_mean, meant, nearest
from recast.stages.registry import TRUNK

_PREDICATES = ("must ", "cannot ", "has ", "needs ", "names ")
"""what a validator's text begins with that goes on from the name of the param"""
Details = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Field:
    """What an error is about, as far as the params' schema follows where pydantic puts it."""

    path: KeyPath
    schema: Mapping[str, Any]
    is_whole: bool
    """whether pydantic meant just this; else it went on into one form of a value that may have several"""


class ParamProblems:
    """The problems of one stage's params, each mistake said once."""

    def __init__(
        self, recipe: Recipe, target: str | None, name: str, stage: Stage[Any], layers: Sequence[Layer]
    ) -> None:
        self.recipe, self.target, self.name, self.layers = recipe, target, name, layers
        self.params: type[Params] = stage.params
        self.sources = {source.name for source in stage.sources}
        self.schema = self.params.model_json_schema()
        self.definitions: Mapping[str, Any] = self.schema.get("$defs", {})

    def of(self, details: Details, values: Mapping[str, Any]) -> list[Problem]:
        """One problem for each mistake that the details are about; `values` is what was validated."""
        found: dict[KeyPath, Problem] = {}
        for detail in self._without_misspelt(details):
            loc = tuple(detail["loc"])
            # an item that a list of fixed length lacks is no place
            field = self._field(loc[:-1] if detail["type"] == "missing" and isinstance(loc[-1], int) else loc)
            if field.path not in found or not field.path:
                found[field.path if field.path else (detail["msg"],)] = self._problem(detail, field, values)
        # what is wrong with an item may be wrong with the list as well
        deepest = [path for path in found if not any(path == other[: len(path)] != other for other in found)]
        return [found[path] for path in deepest]

    def _without_misspelt(self, details: Details) -> Details:
        """Without those that miss what another has under a wrong name."""
        extra = [tuple(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"]

        def is_misspelt(loc: KeyPath) -> bool:
            return any(near[:-1] == loc[:-1] and nearest(str(near[-1]), [str(loc[-1])]) for near in extra)

        return [detail for detail in details if detail["type"] != "missing" or not is_misspelt(tuple(detail["loc"]))]

    def _field(self, loc: KeyPath) -> _Field:
        node: Mapping[str, Any] = self.schema
        for depth, part in enumerate(loc):
            node = resolved(node, self.definitions)
            if alternatives(node, self.definitions):
                return _Field(loc[:depth], node, False)
            inner = self._inside(node, part)
            if inner is None:
                # an unknown key, or a mark of pydantic's own such as that of a mapping's key
                return _Field(loc[: depth + 1], node, depth + 1 == len(loc))
            node = inner
        return _Field(loc, node, True)

    @staticmethod
    def _inside(node: Mapping[str, Any], part: str | int) -> Mapping[str, Any] | None:
        found: Any
        if isinstance(part, int):
            items = node.get("prefixItems", ())
            found = items[part] if part < len(items) else node.get("items")
        else:
            found = node.get("properties", {}).get(part, node.get("additionalProperties"))
        return found if isinstance(found, Mapping) else None

    def _problem(self, detail: Mapping[str, Any], field: _Field, values: Mapping[str, Any]) -> Problem:
        said = str(detail["msg"]).removeprefix("Value error, ")
        dotted = _dotted(field.path)
        if not field.path:
            return self._about_several(said)
        if detail["type"] == "missing" and tuple(detail["loc"]) == field.path:
            document, path = self._place(field.path[:-1]) if len(field.path) > 1 else self._own()
            return document.problem(
                path, f"{self._subject(document, path)} needs '{dotted}'", self._described(field, values)
            )
        document, path = self._place(field.path)
        if detail["type"] == "extra_forbidden" and field.is_whole:
            message = f"{self._subject(document, path)} has no param '{dotted}'"
            return document.problem(path, message, self._instead(field))
        if detail["type"] == "value_error":
            said, _, remedy = said.partition("; ")
            colon = "" if said.startswith(_PREDICATES) else ":"
            return document.problem(path, f"'{dotted}'{colon} {said}", remedy or self._described(field, values))
        value = self._value(field.path, values)
        choices = resolved(field.schema, self.definitions).get("enum")
        if choices and isinstance(value, str):
            names = [str(choice) for choice in choices]
            return document.problem(path, f"'{dotted}' cannot be '{value}'", did_you_mean(value, names))
        may_be = allowed(field.schema, self.definitions)
        remedy = hint(value, field.schema, self.definitions) or self._described(field, values)
        return document.problem(path, f"'{dotted}' must be {may_be}, not {shown(value)}", remedy)

    def _about_several(self, said: str) -> Problem:
        """At the first param the text names that stands in a file, or else at the stage."""
        for word in re.findall(r"[a-z_0-9]+", said):
            if word in self.params.model_fields and any(word in layer.values for layer in self.layers):
                document, path = self._place((word,))
                return document.problem(path, f"{self._subject(document, path[:-1])}: {said}")
        document, path = self._own()
        return document.problem(path, f"{self._subject(document, path)}: {said}")

    def _place(self, path: KeyPath) -> tuple[Document, KeyPath]:
        """The file and key path of the value that is used."""
        layer = next((layer for layer in reversed(self.layers) if path[0] in layer.values), None)
        return (layer.document, (*layer.path, *path)) if layer else self._own()

    def _own(self) -> tuple[Document, KeyPath]:
        """The section of the stage in the recipe, or nearest to it."""
        own = next((layer for layer in reversed(self.layers) if layer.owner), None)
        return (own.document, own.path) if own else (self.recipe.document, ("stages", self.name))

    def _subject(self, document: Document, path: KeyPath) -> str:
        """The stage, as the place in the file has it: the same mistake is then the same for all who inherit it."""
        inside = self.target if path[:1] == ("targets",) or self.name not in TRUNK else None
        return f"stage '{inside}/{self.name}'" if inside else f"stage '{self.name}'"

    @staticmethod
    def _value(path: Iterable[str | int], values: Any) -> Any:
        for part in path:
            try:
                values = values[part]
            except (KeyError, IndexError, TypeError):
                return None
        return values

    def _instead(self, field: _Field) -> str:
        """What an unknown param was meant to be: one of these, or one of another stage."""
        wrong = str(field.path[-1])
        if len(field.path) == 1 and wrong in self.sources:
            return "drop the line: it is a folder of Recast's own, which the stage finds by itself"
        known = [
            name
            for name in resolved(field.schema, self.definitions).get("properties", {})
            if name not in SAID_AT_THE_TOP
        ]
        if len(field.path) > 1 or nearest(wrong, known) is not None:
            return did_you_mean(wrong, known)
        phrase = wrong.replace("_", " ").lower()
        alike = [name for name in known if phrase in str(self.params.model_fields[name].description).lower()]
        if len(alike) == 1 and "_" in wrong:
            return meant(alike[0])
        return belongs(wrong, self.name, self.target) or did_you_mean(wrong, known)

    def _described(self, field: _Field, values: Mapping[str, Any]) -> str:
        """What the param is, in its own words."""
        node: Mapping[str, Any] = self.schema
        said = ""
        for part in field.path:
            inner = self._inside(resolved(node, self.definitions), part)
            if inner is None:
                break
            node = inner
            if isinstance(part, str) and (text := node.get("description")):
                said = f"{part} is: {text}"
        return said


def _dotted(path: KeyPath) -> str:
    """For example `early_stopping.patience`, or `scales[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
