# environment: torch
"""Bounds of reading: what is said to the runner, and memory that is not given."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest

from recast.stages.base import EVENT_MARK, StageError
from recast.stages.common import untrusted


def test_the_runner_is_told_of_a_limit_and_that_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), untrusted.time_limit(5, "reading a.onnx", "export it again"):
        raise ValueError
    begun, ended = (
        json.loads(line.removeprefix(EVENT_MARK)) for line in capsys.readouterr().out.strip("\n").split("\n")
    )
    assert begun == {"limit": 5, "error": "reading a.onnx took longer than 5 s", "remedies": ["export it again"]}
    assert ended == {"limit": None}


def test_memory_beyond_what_is_free_is_refused_and_the_bound_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with monkeypatch.context() as patched:
        patched.setattr(untrusted, "free_bytes", lambda: 2**28)
        with (
            pytest.raises(StageError, match=r"a.npz takes more than the 0.2 GiB of memory it may") as caught,
            untrusted.memory_limit("a.npz", "give fewer samples"),
        ):
            np.ones(2**26)
    assert caught.value.remedy == "give fewer samples" and resource.getrlimit(resource.RLIMIT_DATA) == before
    with untrusted.memory_limit("a.npz"):
        assert np.ones(2**22).all()


def test_a_container_has_less_than_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = untrusted.free_bytes()
    assert free and free > 2**20
    monkeypatch.setattr(untrusted, "CONTAINER", tmp_path)
    for most, bound in (("max\n", None), (f"{3 * 2**20}\n", 2**20)):
        (tmp_path / "memory.max").write_text(most)
        (tmp_path / "memory.current").write_text(f"{2 * 2**20}\n")
        assert untrusted.free_bytes() == bound or (bound is None and (untrusted.free_bytes() or 0) > 2**20)
    monkeypatch.setattr(untrusted, "MACHINE", tmp_path)  # where there is no /proc
    assert untrusted.free_bytes() is None
    with untrusted.memory_limit("a.npz"):
        pass
