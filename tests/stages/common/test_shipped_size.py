# environment: onnx
from __future__ import annotations

from pathlib import Path

import pytest

from recast.stages import registry
from recast.stages.base import StageError
from recast.stages.common import shipped_size


def test_every_file_counts_once_and_no_other(tmp_path: Path) -> None:
    for name, size in (("model.c", 10), ("weights/a.bin", 200), ("weights/b.bin", 3000), ("README.md", 40_000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert shipped_size.size(tmp_path, ("model.c", "weights/*", "**/*.bin", "maybe.json*")) == 3210


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"holds no model\.c"):
        shipped_size.size(tmp_path, ("model.c",))


def test_what_a_target_ships_holds_what_it_emits() -> None:
    emitting = {name: registry.load(name) for name in registry.REGISTRY if name.endswith(".emit")}
    assert len(emitting) == 7
    for name, stage in emitting.items():
        assert stage.emits and (not stage.ships or stage.emits in stage.ships), name
    assert {name for name, stage in emitting.items() if stage.ships} == {
        "akida.emit",
        "c.emit",
        "cairo.emit",
        "ezkl.emit",
        "zml.emit",
    }
