"""The templates, and how they are filled in."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from recast.pipeline.project.template import filled, scalar


@pytest.mark.parametrize(
    "text",
    [
        *("data/points.npz", "models.net:Net", "a b/c.onnx", "null", "True", "digits", "a: b", "1e3", "x #y"),
        *('it"s', "back\\slash", "é/ü.npz", "-x", "*star", "a.b: c", "0x1f/a", "trueish", "{a}", "a,b", "a/b]"),
    ],
)
def test_a_scalar_is_read_as_the_text_it_is(text: str) -> None:
    yaml = YAML(typ="safe")
    assert yaml.load(f"a: {scalar(text)}\n") == yaml.load(f"{{a: {scalar(text)}}}\n") == {"a": text}


def test_what_has_no_value_is_left_out_and_what_has_several_is_repeated() -> None:
    text = filled("new_extending.yaml", {"name": "n", "base": "b", "target": ("x", "y"), "dropped": ()})
    assert text.partition("extends")[2] == ": b\n\ntargets:\n  x: {}\n  y: {}\n"
    bare = filled("new_extending.yaml", {"name": "n", "base": "b", "target": ()})
    assert bare.partition("extends")[2] == ": b\n"
