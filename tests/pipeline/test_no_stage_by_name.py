"""The runner knows no stage and no target by name: what one is, its declaration says."""

from __future__ import annotations

import ast

import pytest

from recast.pipeline.cli.blame import as_text, blame
from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import RecastError
from recast.pipeline.execution.results import result_table
from recast.pipeline.planning.make_plan import make_plan
from recast.stages import registry
from recast.stages.registry import REGISTRY, TRUNK, TRUNKS, VERBS, load
from tests.lib.repository import ROOT, Write

OTHERWISE = {
    "blame.py": {"verify"},  # a key of parity.json
    "bom.py": {"data", "inputs"},  # words of CycloneDX, and a key of input.json
    "card.py": {"inputs"},  # a key of input.json
    "explain.py": {"data"},  # a kind of reason: a file that a param names
    "explain_report.py": {"data"},
    "model.py": {"inputs"},  # the same
    "plan_views.py": {"inputs"},  # what a stage reads
    "tool_variables.py": {"data"},  # a folder's name
}
"""module -> words that mean something else there"""
TARGETS = sorted({name for name, _ in map(registry.split, REGISTRY) if name})


def test_the_runner_says_no_stages_or_targets_name() -> None:
    names = {*REGISTRY, *VERBS, *TARGETS, *(registry.split(name)[1] for name in REGISTRY)}
    modules = sorted((ROOT / "pipeline").rglob("*.py"))
    said = {}
    for module in modules:
        for node in ast.walk(ast.parse(module.read_bytes())):
            if isinstance(node, ast.Constant) and node.value in names:
                said.setdefault(module.name, set()).add(node.value)
    assert len(modules) > 40
    assert said == OTHERWISE


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_emits_once_and_reports_on_it_once(target: str) -> None:
    stages = [load(name) for name in REGISTRY if registry.split(name)[0] == target]
    assert sum(stage.emits is not None for stage in stages) == 1
    assert [stage.reports for stage in stages if stage.reports] == ["parity.json"]


@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_trunk_makes_what_its_stages_read_and_shows_one_models_metrics(trunk: tuple[str, ...]) -> None:
    made: set[str | None] = set()
    for name in trunk:
        assert made.issuperset(load(name).inputs)
        made |= {name, load(name).stands_for}
    assert sum(load(name).in_summary for name in trunk) == 1


def test_a_stage_that_verifies_is_found_whatever_its_target_calls_it(write: Write) -> None:
    """For the results of a run and for `recast blame`."""
    made = "uses: {quantize: akida.quantize, calibrate: akida.calibrate, emit: akida.emit%s}\n"
    made += "stages:\n  quantize: {}\n  calibrate: {}\n  emit: {}\n"
    root = write(
        {
            "recipes/targets/tpu.yaml": made % ", judge: akida.verify" + "  judge: {}\n",
            "recipes/targets/mute.yaml": made % "",
            "recipes/r.yaml": "extends: base\ntargets: {tpu: {}, mute: {}}\n",
            "artifacts/r/tpu/judge/metrics.json": '{"metric": "accuracy", "is_share": true, "accuracy_float": 0.5, '
            '"accuracy_emitted": 0.25, "agreement": 1.0}',
            "artifacts/r/tpu/judge/parity.json": '{"conversions": []}',
        }
    )
    plan = make_plan(root, ["r"])
    shown = {row[0]: row[1:4] for row in result_table(root, plan, "r", only=("tpu", "mute")).rows}
    assert shown == {"tpu": ("50.00 %", "25.00 %", "100.00 %"), "mute": ("–", "–", "–")}
    assert as_text(blame(root, plan, Address("r", "tpu"))).startswith("r/tpu: judge passed.")
    with pytest.raises(RecastError, match="target 'mute' of 'r' verifies nothing; add a stage that does to its set"):
        blame(root, plan, Address("r", "mute"))


def test_trunk_stages_are_of_no_target() -> None:
    assert {registry.split(name) for name in TRUNK} == {(None, name) for name in TRUNK}
    assert set(TRUNK) == {name for name in REGISTRY if registry.split(name)[0] is None}
    assert registry.of_targets("verify") == [f"{target}.verify" for target in TARGETS]
    assert not registry.of_targets("train")
