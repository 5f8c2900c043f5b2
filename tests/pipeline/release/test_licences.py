"""Licences are what installed metadata say: which field, and nothing where none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from recast.pipeline.processes.environment import Environment
from recast.pipeline.release.licences import Package, as_content, packages


def environment(tmp_path: Path, pins: str, **metadata: str) -> Environment:
    (tmp_path / "e.txt").write_text(f"# python: 3.11\n{pins}")
    for name, fields in metadata.items():
        place = tmp_path / f"lib/python3.11/site-packages/{name}-1.0.dist-info"
        place.mkdir(parents=True)
        (place / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{fields}")
    return Environment("e", tmp_path / "e.txt", "3.11", "", tmp_path, None)


@pytest.mark.parametrize(
    ("fields", "licence", "source"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: other\n", "MIT OR Apache-2.0", "License-Expression"),
        ("License: BSD\nClassifier: License :: OSI Approved :: MIT License\n", "BSD", "License"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License", "Classifier"),
        ("License: Copyright of somebody\n        who says a lot\n", "", ""),
        (f"License: {'x' * 200}\n", "", ""),
        ("Classifier: License :: OSI Approved\n", "", ""),
        ("", "", ""),
    ],
)
def test_the_most_precise_field_counts_and_a_text_is_no_name(tmp_path, fields, licence, source):
    found = packages(environment(tmp_path, "one==1.0\n", one=fields))
    assert found == (Package("one", "1.0", licence, source),)


def test_pins_with_markers_and_such_as_are_not_installed_are_listed_too(tmp_path):
    pins = "One_Two==1.0 ; python_version < '3.12'\nabsent==2.0\n"
    found = packages(environment(tmp_path, pins, one_two="License-Expression: MIT\n"))
    assert found == (Package("One_Two", "1.0", "MIT", "License-Expression"), Package("absent", "2.0", "", ""))
    content = as_content({"e": found}, "")
    assert content["unknown"] == ["absent"] and content["model"] is None
