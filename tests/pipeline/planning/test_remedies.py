"""Walks every remedy that stages and the runner can give, and asks of each whether it can be followed."""

from __future__ import annotations

import ast
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML

from recast.pipeline.cli.arguments import parse
from recast.pipeline.planning.import_graph import import_closure
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.remedies import followable, lacking, params_by_name
from recast.stages.registry import REGISTRY, TRUNK, TRUNKS, load, split

ROOT = Path(__file__).resolve().parents[3]
ERRORS = ("StageError", "RecastError", "StageFailed", "WorkerLost", "Problem", "foreign")
HOLE = "\0"
"""what an f-string fills in"""
NAMED = re.compile(rf"(?<![\w./{HOLE}])([a-z]+)\.([a-z_{HOLE}][a-z0-9_{HOLE}]*)")
# the hole: how Recast is called there
COMMAND = re.compile(r"(?:\./recast|'recast|`recast|run '\0) ([a-z-]+)((?: --[a-z-]+| [A-Za-z\0]\S*)*)")
FILE = re.compile(r"(?<![\w.])((?:docs|envs|recipes|stages|models)/[\w./-]+\.\w+|params\.yaml|dvc\.yaml)")
AGAIN = re.compile(r"\brun (\w+) again")
QUOTED = re.compile(r"`([^`]+)`")


class Told(NamedTuple):
    """An error that the source can raise: where, and its remedies as texts, HOLE where something is filled in."""

    where: str
    module: str
    remedies: tuple[str, ...]

    def __str__(self) -> str:
        return self.where


def test_the_walk_reaches_what_it_means_to() -> None:
    assert len(STAGE_ERRORS) > 200 and len(RUNNER_ERRORS) > 40
    assert sum(bool(told.remedies) for told in STAGE_ERRORS) > 180
    named = {f"{stage}.{param}" for told in STAGE_ERRORS for text in told.remedies for stage, param in _params(text)}
    assert {"export.opset", "quantize.nodes_to_exclude", "data.resize", "calibrate.input_range"} <= named
    given = {text for told in STAGE_ERRORS for text in told.remedies}
    # what a function, here or in another module, hands to the error
    assert "set quantize.format to one with more bits" in given
    assert any("envs/lock.py torch" in text for text in given)


def test_every_stage_error_has_a_remedy() -> None:
    assert not [told.where for told in STAGE_ERRORS if not told.remedies]


def test_every_param_that_a_remedy_names_is_one() -> None:
    every: dict[str, set[str]] = {}
    for name in REGISTRY:
        every.setdefault(split(name)[1], set()).update(load(name).params.model_fields)
    unknown = [
        f"{told.where}: {stage}.{param}"
        for told in STAGE_ERRORS
        for text in told.remedies
        for stage, param in _params(text)
        if stage in every and not _one_of(param, every[stage])
    ]
    assert not unknown


@pytest.mark.parametrize("target", sorted(path.stem for path in (ROOT / "recipes/targets").glob("*.yaml")))
@pytest.mark.parametrize("trunk", TRUNKS, ids="-".join)
def test_each_kind_of_recipe_has_a_remedy_for_each_error(target: str, trunk: tuple[str, ...]) -> None:
    has = _params_of(target, trunk)
    none = {
        f"{told.where}: {told.remedies}"
        for told in STAGE_ERRORS
        if told.remedies and _reached(told, target, trunk) and not any(_can_follow(text, has) for text in told.remedies)
    }
    assert not none


def test_a_remedy_of_one_kind_of_recipe_is_no_part_of_another_kinds() -> None:
    """`export.opset` and `import.path` in one remedy: neither kind of recipe could follow it."""
    mixed = [
        told.where
        for told in STAGE_ERRORS
        for text in told.remedies
        if {"export", "train"} & {stage for stage, _ in _params(text)} and "import.path" in text
    ]
    assert not mixed


@pytest.mark.parametrize("target", sorted(path.stem for path in (ROOT / "recipes/targets").glob("*.yaml")))
@pytest.mark.parametrize("trunk", TRUNKS, ids="-".join)
def test_a_stage_that_is_to_run_again_is_one_of_the_recipe(target: str, trunk: tuple[str, ...]) -> None:
    has = _params_of(target, trunk)
    told = [one for one in STAGE_ERRORS if _reached(one, target, trunk)]
    named = {(one.where, stage) for one in told for text in one.remedies for stage in AGAIN.findall(text)}
    assert not [one for one in named if one[1] in STAGE_NAMES and one[1] not in has]


def test_every_command_that_a_remedy_names_is_one() -> None:
    found = [(told.where, *match) for told in ALL for text in told.remedies for match in COMMAND.findall(text)]
    assert len(found) > 8
    options = [(where, verb, option) for where, verb, rest in found for option in re.findall(r"--[a-z-]+", rest)]
    assert options
    assert not [where for where, verb, _ in found if not _help_of(verb)]
    assert not [one for one in options if one[2] not in _help_of(one[1])]


def test_every_file_that_a_remedy_names_is_there() -> None:
    found = {(told.where, file) for told in ALL for text in told.remedies for file in FILE.findall(text)}
    assert found
    assert not [one for one in sorted(found) if HOLE not in one[1] and not (ROOT / one[1]).exists()]


def test_what_a_remedy_quotes_can_be_written_into_a_recipe() -> None:
    known = {"model", "args", "targets", "extends", "data_root", *REGISTRY, *TRUNK}
    known |= {field for name in REGISTRY for field in load(name).params.model_fields}
    quoted = [(told.where, word) for told in ALL for text in told.remedies for word in QUOTED.findall(text)]
    assert quoted
    assert not [one for one in quoted if HOLE not in one[1] and one[1] not in known]


def test_no_remedy_installs_a_package_by_hand() -> None:
    """Environments are locked: what is installed into one is gone with the next change of its pins."""
    bad = re.compile(r"\binstall\b[^,]*\benvironment\b|\bpip install\b")
    assert not [told.where for told in ALL for text in told.remedies if bad.search(text)]


def test_a_recipe_is_shown_what_it_can_follow() -> None:
    remedies = ("set export.opset to 13", "name an opset 13 file as import.path", "raise simplify.tolerance")
    trains = {"export": ["opset"], "simplify": ["tolerance"]}
    imports = {"import": ["path"], "simplify": ["tolerance"]}
    assert followable(remedies, trains) == "set export.opset to 13, or raise simplify.tolerance"
    assert followable(remedies, imports) == "name an opset 13 file as import.path, or raise simplify.tolerance"
    # a target without the param, and one whose stage of that name has others
    assert followable(["raise calibrate.samples"], {"calibrate": ["samples"]}) == "raise calibrate.samples"
    assert followable(["raise calibrate.samples"], {"calibrate": ["input_range"]}) == ""
    assert followable(["raise calibrate.samples"], {}) == ""


def test_a_stage_is_told_of_its_own_recipe_and_target() -> None:
    plan = make_plan(ROOT, ["digits", "mnist_zml"])
    has = params_by_name(plan, plan.stages["digits/onnxruntime/quantize"])
    assert "opset" in has["export"] and "nodes_to_exclude" in has["quantize"] and "import" not in has
    # of another target's stages of the same name, nothing
    assert "per_tensor_activations" not in has["quantize"]
    assert lacking("set quantize.per_tensor_activations to true", has) == ["quantize.per_tensor_activations"]
    zml = params_by_name(plan, plan.stages["mnist_zml/zml/verify"])
    assert "calibrate" not in zml and lacking("raise calibrate.samples", zml)
    trunk = params_by_name(plan, plan.stages["digits/data"])
    assert "calibration_samples" in trunk["data"] and "tolerance" in trunk["simplify"] and "quantize" not in trunk


@pytest.mark.parametrize("text", ["mend models/export.py", "see export.onnx", "look at data.npz", "run emit again"])
def test_a_file_is_no_param(text: str) -> None:
    assert lacking(text, {}) == []


def _params(text: str) -> list[tuple[str, str]]:
    return NAMED.findall(text)


def _one_of(param: str, fields: set[str]) -> bool:
    pattern = re.compile(".*".join(re.escape(part) for part in param.split(HOLE)))
    return any(pattern.fullmatch(field) for field in fields)


def _can_follow(text: str, has: Mapping[str, set[str]]) -> bool:
    return all(
        stage not in STAGE_NAMES or (stage in has and _one_of(param, has[stage])) for stage, param in _params(text)
    )


@cache
def _stages_of(target: str) -> dict[str, str]:
    """Stage of the target -> the registered stage it is."""
    raw = YAML(typ="safe").load((ROOT / f"recipes/targets/{target}.yaml").read_text(encoding="utf-8"))
    uses = raw.get("uses", {})
    return {name: uses.get(name, f"{target}.{name}") for name in raw["stages"]}


def _params_of(target: str, trunk: tuple[str, ...]) -> dict[str, set[str]]:
    uses = {**{name: name for name in trunk}, **_stages_of(target)}
    return {name: set(load(stage).params.model_fields) for name, stage in uses.items()}


def _reached(told: Told, target: str, trunk: tuple[str, ...]) -> bool:
    """Whether a stage of that target, or of the trunk, imports the module."""
    made = {*trunk, *(load(stage).stands_for for stage in trunk), *_stages_of(target)}
    if any(not made.issuperset(load(stage).inputs) for stage in _stages_of(target).values()):
        return False  # it needs a trained model, so the recipe is refused as a whole
    return any(told.module in _closure(stage) for stage in (*trunk, *_stages_of(target).values()))


@cache
def _closure(stage: str) -> tuple[str, ...]:
    return import_closure(ROOT, REGISTRY[stage].module)


@cache
def _help_of(verb: str) -> str:
    """What `recast VERB --help` prints; empty if there is no such verb."""
    text = io.StringIO()
    with redirect_stdout(text), redirect_stderr(io.StringIO()), suppress(SystemExit):
        parse([verb, "--help"], defaultdict(lambda: print), print)
    return text.getvalue()


def _errors(folder: str) -> Iterator[Told]:
    for path in sorted((ROOT / folder).rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        scopes = _constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) in ERRORS:
                yield Told(f"{module}:{node.lineno}", module, _remedies(node, scopes))


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _constants(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """Name -> all that the module assigns to it, or returns from a function of that name."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] * len(names)
                for name, value in zip(names, values, strict=False):
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found.setdefault(node.target.id, []).append(node.value)
        elif isinstance(node, ast.FunctionDef):
            returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
            found.setdefault(node.name, []).extend(returned)
    return found


def _remedies(call: ast.Call, scopes: Mapping[str, list[ast.expr]]) -> tuple[str, ...]:
    given = call.args[4:] if _called(call) == "Problem" else call.args[1:]
    if _called(call) in ("StageFailed", "WorkerLost"):
        given = given[:1]
    given = [*given, *(keyword.value for keyword in call.keywords if keyword.arg == "remedy")]
    texts = [text for argument in given for text in _texts(argument, scopes)]
    return tuple(text for text in texts if text)


def _texts(node: ast.expr, scopes: Mapping[str, list[ast.expr]], depth: int = 0) -> list[str]:
    """Every text the expression can be, as far as it is written in the module."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        texts = [""]
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            choices = _texts(inner, scopes, depth + 1)
            texts = [before + choice for before in texts for choice in choices][:64]
        return texts
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [a + b for a in _texts(node.left, scopes, depth) for b in _texts(node.right, scopes, depth)][:64]
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, scopes, depth), *_texts(node.orelse, scopes, depth)]
    if isinstance(node, ast.Starred):
        return _texts(node.value, scopes, depth)
    if isinstance(node, ast.Tuple | ast.List):
        return [text for one in node.elts for text in _texts(one, scopes, depth)]
    named = node.func if isinstance(node, ast.Call) else node
    name = named.id if isinstance(named, ast.Name) else named.attr if isinstance(named, ast.Attribute) else ""
    # what another module defines is found by its name alone, as far as that is one of a kind
    values = scopes.get(name) or (_everywhere().get(name, []) if isinstance(named, ast.Attribute) else [])
    if values and depth < 4:
        return [text for value in values for text in _texts(value, scopes, depth + 1)] or [HOLE]
    return [HOLE]


@cache
def _everywhere() -> dict[str, list[ast.expr]]:
    found: dict[str, list[list[ast.expr]]] = {}
    for path in (*(ROOT / "stages").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")):
        for name, values in _constants(ast.parse(path.read_text(encoding="utf-8"))).items():
            found.setdefault(name, []).append(values)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


STAGE_NAMES = {split(name)[1] for name in REGISTRY}
STAGE_ERRORS = list(_errors("stages"))
RUNNER_ERRORS = list(_errors("pipeline"))
ALL = STAGE_ERRORS + RUNNER_ERRORS
