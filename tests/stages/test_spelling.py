# environment: torch
from __future__ import annotations

from stages.spelling import did_you_mean


def test_did_you_mean_sees_through_case_and_underscores() -> None:
    assert did_you_mean("cross_entropi", ["CrossEntropyLoss", "NLLLoss"]).startswith("did you mean 'CrossEntropyLoss'?")
    assert did_you_mean("zzz", ["b", "a"]) == "supported: a, b"
