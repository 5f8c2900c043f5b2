"""recast.lock as values: what is written is what is read; see also test_plugins.py."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from recast.pipeline.recipes.plugin_record import Record, read_record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Record(
        {"stages.train": "a", "stages.cairo.emit": "b", "datasets.my-set": "c", "models.mine": "d"},
        {"recast-ml": {"version": "0.1.0"}, "demo": {"version": "1", "targets": ["text"]}},
    )
    with (tmp_path / "recast.lock").open("w") as file:
        YAML().dump(record.document(), file)
    assert read_record(tmp_path) == record
    assert list(record.document()) == ["datasets", "models", "stages", "plugins"]


def test_without_a_file_nothing_is_recorded(tmp_path: Path) -> None:
    assert read_record(tmp_path) == Record() and Record().document() == {}
