"""What `recast check` says of mistakes a person makes, word for word: each is one problem, at its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recast.pipeline.core.errors import RecipeError
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.recipes.value_words import PATTERNS
from recast.stages.registry import REGISTRY, load
from tests.lib.repository import ROOT

MISTAKES = ROOT / "tests/pipeline/recipes/recipe_mistakes.txt"
EDITS = [
    tuple(part.replace("\\n", "\n") for part in line.split(" | "))
    for line in MISTAKES.read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's models and targets, and two recipes: a sound one and one to be edited."""
    root = tmp_path_factory.mktemp("messages")
    for name in ("models", "recipes/targets", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "src/recast").mkdir(parents=True)  # by which a repository is Recast's own
    (root / "envs").mkdir()
    for name in ("envs/torch.in", "params.yaml"):
        shutil.copy(ROOT / name, root / name)
    (root / "recipes/base.yaml").write_text((ROOT / "recipes/digits.yaml").read_text(encoding="utf-8"))
    return root


@pytest.mark.parametrize(("old", "new", "message"), EDITS, ids=[new[:50] for _, new, _ in EDITS])
def test_a_mistake_is_said_once_and_well(old: str, new: str, message: str, place: Path) -> None:
    text = (ROOT / "recipes/digits.yaml").read_text(encoding="utf-8")
    assert old in text
    edited = text.replace(old, new, 1)
    (place / "recipes/t.yaml").write_text(edited, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        make_plan(place, ["t"])
    (problem,) = caught.value.problems
    said = f"{problem.message}; {problem.remedy}"
    assert said.startswith(message)
    assert not any(word in said for word in ("constrained", "pydantic", "a valid ", "Input ", "Traceback"))
    # the place is that of the edit
    line = text[: text.index(old)].count("\n") + 1 + new.startswith("\n")
    assert (problem.file, problem.line) == ("recipes/t.yaml", line)


def test_every_pattern_of_a_param_has_words() -> None:
    def patterns(schema: object) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(patterns, schema), set())
        if not isinstance(schema, dict):
            return set()
        own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
        return own.union(*map(patterns, schema.values()))

    found = set().union(*(patterns(load(name).params.model_json_schema()) for name in REGISTRY))
    assert found and found <= set(PATTERNS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("targets: {wasm: {emit: {batch: 0}}}\n", "'batch' must be a whole number of 1 or more, not 0"),
        ("targets: {nope: {}}\n", "no target named 'nope' in recipes/targets/"),
        ("targets: {wasm: {emitt: {}}}\n", "target 'wasm' has no stage named 'emitt'"),
        ("targets: {wasm: false}\n", "'wasm: false' is for a recipe that inherits the target"),
        ("stages: {export: {opset: 99}}\n", "'opset' must be a whole number from 7 to 26, not 99"),
    ],
)
def test_defaults_that_a_recipe_overrides_must_be_right_too(text: str, message: str, place: Path) -> None:
    sound = (place / "params.yaml").read_text(encoding="utf-8")
    (place / "params.yaml").write_text(text, encoding="utf-8")
    try:
        with pytest.raises(RecipeError) as caught:
            make_plan(place, ["base"])
    finally:
        (place / "params.yaml").write_text(sound, encoding="utf-8")
    (problem,) = caught.value.problems
    assert problem.file == "params.yaml" and problem.message.startswith(message)
