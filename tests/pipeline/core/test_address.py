"""Addresses: read as they are written, and found again in the names that are made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.core import address
from recast.pipeline.core.address import Address
from tests.lib.repository import ROOT

TARGETS = {"digits": ("akida", "onnxruntime")}
WRITTEN = {
    "digits": Address("digits"),
    "digits/akida": Address("digits", "akida"),
    "digits/train": Address("digits", None, "train"),
    "digits/akida/verify": Address("digits", "akida", "verify"),
    "no_such/akida": Address("no_such", None, "akida"),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_an_address_is_read_and_written_the_same(text: str) -> None:
    assert address.parse(text, TARGETS) == WRITTEN[text]
    assert str(WRITTEN[text]) == text
    assert address.recipe_of(text) == WRITTEN[text].recipe
    assert address.within(WRITTEN[text].recipe, text) == (WRITTEN[text].within or text)


@pytest.mark.parametrize("text", ["digits/", "/digits", "/digits/"])
def test_slashes_around_count_for_nothing(text: str) -> None:
    assert address.parse(text, TARGETS) == Address("digits")
    assert address.recipe_of(text) == "digits"


@pytest.mark.parametrize("text", ["digits//train", "digits/akida/verify/more"])
def test_what_is_no_address_names_no_stage_that_there_can_be(text: str) -> None:
    read = address.parse(text, TARGETS)
    assert not address.is_name(read.target) or not address.is_name(read.stage)


@pytest.mark.parametrize("one", WRITTEN.values(), ids=str)
def test_names_made_of_an_address_tell_its_recipe(one: Address) -> None:
    assert address.recipe_of_dvc_name(one.dvc_name) == one.recipe
    assert address.recipe_of_output(one.out) == one.recipe
    assert address.recipe_of_output(f"{one.out}/metrics.json") == one.recipe


def test_commands_of_an_address(tmp_path: Path) -> None:
    stage = WRITTEN["digits/akida/verify"]
    assert (stage.dvc_name, stage.out) == ("digits-akida-verify", "artifacts/digits/akida/verify")
    assert stage.stage_command == "./recast stage digits akida/verify"
    assert stage.run_command(ROOT) == "./recast run digits --target akida"
    assert WRITTEN["digits"].stage_command == "./recast stage digits"
    assert WRITTEN["digits/train"].run_command(ROOT) == "./recast run digits"
    # a project that is no clone of ours calls what is installed
    assert WRITTEN["digits"].run_command(tmp_path) == "recast run digits"


@pytest.mark.parametrize("name", ["a", "Mnist_2", "x" * 64])
def test_plain_names(name: str) -> None:
    assert address.is_name(name)


@pytest.mark.parametrize("name", ["", "2a", "_a", "a-b", "a/b", "a.b", "a b", "a\n", "ä", "x" * 65, 1, None])
def test_what_is_no_plain_name(name: object) -> None:
    assert not address.is_name(name)
