"""The tables of params in docs/recipes.md say what the code takes: each param, its default and its meaning."""

from __future__ import annotations

import importlib
import json
import re
from typing import Any

import pytest

from recast.stages.registry import REGISTRY
from tests.lib.repository import ROOT

# read by the runner from the recipe's own keys, and the same for every stage
ELSEWHERE = {"resources", "model", "task"}
ROW = re.compile(r"\| `(?P<name>\w+)` \| .* \| (?P<default>.*?) \| (?P<meaning>.*) \|")
SHARED = {
    "wasm.quantize": ("onnxruntime: quantize", {"scheme"}),
    "wasm.calibrate": ("onnxruntime: calibrate", set()),
    "c.emit": ("wasm: emit", set()),
}
"""stages whose params are those of another's table, some or all, and what the text adds"""
VERIFY = "verify, of all targets"
Row = tuple[str, str]


def tables() -> dict[str, dict[str, Row]]:
    """heading -> param -> its default and its meaning, without markup."""
    text = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    found: dict[str, dict[str, Row]] = {}
    for section in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        found[heading] = {row["name"]: (row["default"], plain(row["meaning"])) for row in ROW.finditer(body)}
    return found


def plain(meaning: str) -> str:
    unlinked = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", meaning)
    return unlinked.replace("`", "").replace("&lt;", "<").replace("&gt;", ">")


def default_of(field: Any) -> str:
    if field.is_required():
        return "**required**"
    return "unset" if field.default is None else f"`{json.dumps(field.default)}`"


@pytest.mark.parametrize("stage", REGISTRY)
def test_the_params_of_a_stage_are_documented(stage: str) -> None:
    fields = importlib.import_module(REGISTRY[stage].module).STAGE.params.model_fields
    documented = tables()
    if stage in SHARED:
        heading, added = SHARED[stage]
        assert set(fields) - ELSEWHERE <= set(documented[heading]) | added
        return
    own = documented.get(stage.replace(".", ": "), {})
    common = documented[VERIFY] if stage.endswith(".verify") else {}
    assert set(own) <= set(fields), "a param that is none"
    assert set(fields) - ELSEWHERE <= {*own, *common}, "a param that is not documented"
    for name, (default, meaning) in own.items():
        # what the target's own file gives is said as well
        assert default.partition(";")[0] == default_of(fields[name]), name
        assert meaning == plain(str(fields[name].description)), name
