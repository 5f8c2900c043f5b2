"""Some of the networks of benchmarks/networks.py, from a recipe to each target's own runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.networks import NETWORKS, outcomes


def test_there_are_forty_of_every_kind() -> None:
    tasks = {task.split()[0] for task, _ in NETWORKS.values()}
    kinds = {kind.split()[0] for _, inputs in NETWORKS.values() for kind, _ in inputs.values()}
    assert len(NETWORKS) == 40 and len(tasks) == 9 and kinds == {"image", "float", "ids", "mask"}


@pytest.mark.slow
def test_each_is_right_or_refused_with_the_reason(tmp_path: Path) -> None:
    """Tokens with a mask, which are two inputs, and a network with two outputs."""
    found = outcomes(tmp_path / "a project", ["TextTransformer", "ActorCritic"], ["onnxruntime", "c", "akida"])
    kinds = {(one.network, one.target): one.kind for one in found}
    assert kinds == {
        ("TextTransformer", "onnxruntime"): "right",
        ("TextTransformer", "c"): "right",
        ("TextTransformer", "akida"): "refused",
        ("ActorCritic", "onnxruntime"): "right",
        ("ActorCritic", "c"): "right",
        ("ActorCritic", "akida"): "refused",
    }, found
    reasons = [one.reason for one in found if one.kind == "refused"]
    assert any("check: the target akida holds models with 1 input, and data.inputs names 2" in one for one in reasons)
    assert any("has 2 outputs (policy, value), and this target runs models that have one" in one for one in reasons)
