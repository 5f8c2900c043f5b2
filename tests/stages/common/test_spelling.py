# environment: torch
from __future__ import annotations

from recast.stages.common.spelling import did_you_mean


def test_did_you_mean_sees_through_case_and_underscores() -> None:
    assert did_you_mean("cross_entropi", ["CrossEntropyLoss", "NLLLoss"]) == "did you mean 'CrossEntropyLoss'?"
    assert did_you_mean("MNIST", ["mnist", "fashion_mnist"]) == "did you mean 'mnist'?"
    assert did_you_mean("weight-decay", ["weight_decay", "weights"]) == "did you mean 'weight_decay'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", []) == "none is known"


def test_the_beginning_of_a_name_says_which_is_meant() -> None:
    assert did_you_mean("cosine", ["CosineAnnealingWarmRestarts", "CosineAnnealingLR", "StepLR"]) == (
        "did you mean 'CosineAnnealingLR'?"
    )
    assert did_you_mean("opset_version", ["opset", "samples"]) == "did you mean 'opset'?"


def test_the_refused_name_is_never_proposed() -> None:
    assert did_you_mean("my-net", ["my-net", "other"]) == "known: other"
    assert did_you_mean("my-net", ["my-net"]) == "none is known"


def test_another_word_is_not_near() -> None:
    assert did_you_mean("gpu", ["cpu", "cuda"]) == "known: cpu, cuda"
    assert did_you_mean("x" * 100_000, ["x"]) == "known: x"
