"""What a param may be, and what was written instead, in the words of whoever writes recipes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_MOST = 60
"""characters of a value that are shown"""

PATTERNS = {
    "^[0-9a-fA-F]{64}$": "64 hexadecimal digits",
    "^[0-9a-f]{64}$": "64 hexadecimal digits in lower case",
    "^https?://": "an address that begins with http:// or https://",
    "^[A-Za-z_][A-Za-z0-9_.]*$": "text of letters, digits, _ and ., that does not begin with a digit or .",
}
"""what a pattern of a param means; a test sees that each has words"""
_NUMBERS = ("no", "one", "two", "three", "four")


def kind(value: object) -> str:
    """What a YAML author calls the type of a value."""
    names = {
        bool: "true/false",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)


def shown(value: object) -> str:
    """A value of a file as it may be shown: in one line, and no longer than is read at a glance."""
    if isinstance(value, str):
        return f"text {quoted(value)}"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if value == []:
        return "an empty list"
    text = json.dumps(value, ensure_ascii=True) if not isinstance(value, list) or _is_flat(value) else "a list"
    return shortened(text)


def _is_flat(values: list[Any]) -> bool:
    return not any(isinstance(value, list | dict) for value in values)


def quoted(text: str) -> str:
    """Text in quotes, without what would command a terminal."""
    return repr(shortened(text))


def shortened(text: str) -> str:
    """The text, or the beginning of one that is too long to be shown."""
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def allowed(schema: Mapping[str, Any], definitions: Mapping[str, Any], many: bool = False) -> str:
    """What a value may be, from its JSON schema: `a whole number above 0`, or of `many`: `whole numbers above 0`."""
    schema = resolved(schema, definitions)
    if choices := alternatives(schema, definitions):
        return ", or ".join(allowed(choice, definitions, many) for choice in choices)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return f"one of {', '.join(str(choice) for choice in schema['enum'])}"
    if schema.get("type") == "boolean":
        return "true or false"
    if schema.get("type") in ("integer", "number"):
        noun = "whole number" if schema["type"] == "integer" else "number"
        return f"{noun}s{_limits(schema)}" if many else f"a {noun}{_limits(schema)}"
    if schema.get("type") == "string":
        return PATTERNS.get(schema.get("pattern", ""), "texts" if many else "text")
    if schema.get("type") == "array":
        return _list(schema, definitions, many)
    if fields := schema.get("properties"):
        return f"{'mappings' if many else 'a mapping'} with {', '.join(fields)}"
    inner = schema.get("additionalProperties")
    of = f" of names to {allowed(inner, definitions, True)}" if isinstance(inner, Mapping) else ""
    return f"{'mappings' if many else 'a mapping'}{of}"


def resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself: what it refers to, and without a choice between it and nothing."""
    while True:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema and len(found := _not_null(schema)) == 1:
            schema = found[0]
        else:
            return schema


def alternatives(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The forms a value may have, where there are several, nothing aside."""
    schema = resolved(schema, definitions)
    return _not_null(schema) if "anyOf" in schema else []


def _not_null(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [choice for choice in schema["anyOf"] if choice.get("type") != "null"]


def _limits(schema: Mapping[str, Any]) -> str:
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    lower = f"above {above:g}" if above is not None else f"of {least:g} or more" if least is not None else ""
    upper = f"below {below:g}" if below is not None else f"of {most:g} or less" if most is not None else ""
    both = " and ".join(filter(None, [lower, upper]))
    return f" {both}" if both else ""


def _list(schema: Mapping[str, Any], definitions: Mapping[str, Any], many: bool) -> str:
    noun = "lists" if many else "a list"
    items = schema.get("prefixItems") or [schema.get("items", {})]
    of = allowed(items[0], definitions, True)
    if "prefixItems" in schema:
        return f"{noun} of {_NUMBERS[len(items)]} {of}"
    if of.startswith("one of "):
        return f"{noun}, each item {of}"
    return f"{noun} of at least one of {of}" if schema.get("minItems") == 1 and many else f"{noun} of {of}"


def hint(value: object, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """How to write what was probably meant; empty if that is not plain."""
    choices = alternatives(schema, definitions) or [resolved(schema, definitions)]
    types = {str(choice.get("type")) for choice in choices}
    if value is None and "default" in schema:
        return f"leave it out for the default, {shortened(json.dumps(schema['default']))}"
    if value in (0, 1) and types == {"boolean"}:
        return f"write {json.dumps(bool(value))}"
    if isinstance(value, str):
        if "boolean" in types and value.casefold() in _BOOLEANS:
            return f"write {_BOOLEANS[value.casefold()]}"
        if types & {"integer", "number"} and (number := _number(value)) is not None:
            whole = number.is_integer() and "." not in value
            if whole or "number" in types:
                return f"write it without quotes: {value}" if "%" not in value else f"write {number:g}"
    if isinstance(value, float) and value.is_integer() and "integer" in types and "number" not in types:
        return f"write {int(value)}"
    limits = [choice.get("maximum", choice.get("exclusiveMaximum")) for choice in choices]
    if type(value) in (int, float) and 1 in limits and 1 < float(value) <= 100:  # type: ignore[arg-type]
        return f"{value:g} per cent is {value / 100:g}"  # type: ignore[operator]
    return ""


_BOOLEANS = {
    **dict.fromkeys(("yes", "y", "on", "true", "t"), "true"),
    **dict.fromkeys(("no", "n", "off", "false", "f"), "false"),
}


def _number(text: str) -> float | None:
    percent = text.strip().endswith("%")
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        return None
    if not math.isfinite(number) or "_" in text:
        return None
    return number / 100 if percent else number
