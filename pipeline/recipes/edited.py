"""A recipe's text with other values of a target's params: everything else in it stays, comments included."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from recast.pipeline.core.errors import RecastError

_WIDEST = 2**16
"""columns: no line of a recipe is broken"""


def with_values(text: str, target: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """The recipe with stage -> param -> value under `targets: TARGET:`; text, as it is to be written.

    RecastError for a recipe in which that place is no mapping, or that holds an anchor: what else refers to it would be
    changed with it.
    """
    yaml = _reader(text)
    document = yaml.load(text)
    if re.search(r"(^|[\s,\[{])&\w", text):
        raise RecastError("the recipe holds an anchor, so a value cannot be changed alone", "write the values out")
    place = _section(_section(document, "targets"), target)
    for stage, params in values.items():
        section = _section(place, stage)
        for name, value in params.items():
            section[name] = _plain(value)
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()


class _Representer(RoundTripRepresenter):
    """A class of its own: what is added to one holds for all that use it, DVC's writing of dvc.lock among them."""

    def represent_word(self, _: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_word)


def _reader(text: str) -> YAML:
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = _WIDEST
    first = re.search(r"^( +)[^\s#-]", text, re.MULTILINE)
    indent = len(first[1]) if first else 2
    listed = re.search(r"^( *)[^\s#][^\n]*:\s*\n(?:\s*#[^\n]*\n)*( *)- ", text, re.MULTILINE)
    offset = max(0, len(listed[2]) - len(listed[1])) if listed else 0
    yaml.indent(mapping=indent, sequence=offset + 2, offset=offset)
    return yaml


def _section(within: Any, name: str) -> Any:
    """The mapping of that name, made if there is none, in the style of what it stands in."""
    found = within.get(name)
    if found is None:
        found = within[name] = CommentedMap()
        found.fa.set_flow_style() if within.fa.flow_style() else found.fa.set_block_style()
    if not isinstance(found, CommentedMap):
        raise RecastError(f"'{name}' is no mapping in the recipe", "write it as one")
    if not found and not within.fa.flow_style():
        found.fa.set_block_style()  # `{}` becomes lines
    return found


def _plain(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    listed = CommentedSeq(value)
    listed.fa.set_flow_style()
    return listed
