"""What an editor says of a document by a JSON schema: draft 7, as far as the schema of recipes uses it.

Written from https://json-schema.org/draft-07/draft-handrews-json-schema-validation-01; a keyword it does not know is an
error, so that a schema cannot come to rest on one that nobody looks at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

SILENT = {"$schema", "title", "description", "default", "definitions"}
# of JSON schema 2020-12: what reads draft 7 takes no notice of it
LATER = {"prefixItems"}
TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and value == int(value),
    "number": lambda value: _is_number(value),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def follow(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or what it refers to; what stands beside a reference means nothing in draft 7."""
    while "$ref" in schema:
        hash, *keys = schema["$ref"].split("/")
        assert hash == "#", schema["$ref"]
        schema = root
        for key in keys:
            schema = schema[key]
    return schema


def mistakes(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "") -> Iterator[str]:
    """Every mistake, as the path of the value and the keyword that it offends."""
    root = schema if root is None else root
    for keyword, says in follow(schema, root).items():
        if keyword in SILENT | LATER:
            continue
        if not _holds(keyword, says, value, root):
            yield f"{at} {keyword}".strip()
        elif keyword == "properties" and isinstance(value, dict):
            for name in says.keys() & value.keys():
                yield from mistakes(value[name], says[name], root, f"{at}.{name}".strip("."))
        elif keyword == "items" and isinstance(value, list):
            for number, item in enumerate(value):
                yield from mistakes(item, says, root, f"{at}[{number}]")
        elif keyword == "additionalProperties" and isinstance(value, dict) and not says:
            known = follow(schema, root)["properties"]
            yield from (f"{at}.{name} unknown".strip(".") for name in value if name not in known)


def _holds(keyword: str, says: Any, value: Any, root: dict[str, Any]) -> bool:
    if keyword in LIMITS:
        return not _is_number(value) or LIMITS[keyword](value, says)
    if keyword == "type":
        return any(TYPES[name](value) for name in ([says] if isinstance(says, str) else says))
    if keyword == "required":
        return not isinstance(value, dict) or all(name in value for name in says)
    if keyword == "anyOf":
        return any(not list(mistakes(value, choice, root)) for choice in says)
    if keyword == "const":
        return _is(value, says)
    if keyword == "enum":
        return any(_is(value, choice) for choice in says)
    if keyword == "pattern":
        return not isinstance(value, str) or re.search(says, value) is not None
    if keyword in ("minItems", "maxItems"):
        enough = {"minItems": lambda: len(value) >= says, "maxItems": lambda: len(value) <= says}
        return not isinstance(value, list) or enough[keyword]()
    assert keyword in ("properties", "items") or (keyword == "additionalProperties" and isinstance(says, bool)), keyword
    return True
