"""What errors of other packages say."""

from __future__ import annotations

from recast.pipeline.core.errors import RecastError, told


def test_an_error_without_words_is_named_and_causes_are_told_once() -> None:
    assert told(ValueError("a")) == "a"
    assert told(KeyError()) == "KeyError"
    assert told(TimeoutError()) == "no answer came (TimeoutError)"
    assert told(ConnectionResetError()) == "the connection broke (ConnectionResetError)"
    outer = OSError()
    outer.__cause__ = ValueError("why")
    outer.__cause__.__cause__ = RuntimeError("why")
    assert told(outer) == "why"
    ours = RecastError("dvc: why", "see the disk")
    ours.__cause__ = ValueError("why")
    assert told(ours) == "dvc: why; see the disk"
