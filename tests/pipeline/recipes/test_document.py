"""Values are read as DVC reads them, and remember where they stand."""

from __future__ import annotations

import pytest
from dvc.utils.serialize import load_yaml

from recast.pipeline.recipes.document import read_document

SCALARS = [
    "1e-4",
    "1.0e-3",
    "-3",
    "+5",
    ".5",
    "5.",
    "-0",
    "yes",
    "off",
    "true",
    "~",
    "''",
    '"3"',
    "a b",
    "0x1F",
    "12:30",
]


@pytest.mark.parametrize("text", SCALARS)
def test_a_value_means_what_it_means_to_dvc(text, tmp_path):
    (tmp_path / "r.yaml").write_text(f"a:\n  b: {text}\n  c: [1, {text!r}]\n")
    document = read_document(tmp_path, "r.yaml", [])
    assert document is not None
    read = load_yaml(tmp_path / "r.yaml")
    assert document.values == read
    assert type(document.values["a"]["b"]) is type(read["a"]["b"])


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("010", "write 10; or 8, as some read it; or quote it if it is text"),
        ("089", "write 89, or quote it if it is text"),
        ("-007", "write -7, or quote it if it is text"),
        ("1_000", "write 1000, or quote it if it is text"),
        ("1_0.5", "write 10.5, or quote it if it is text"),
        ("01.5", "write 1.5, or quote it if it is text"),
        ("0o17", "write 15, or quote it if it is text"),
        ("0b11", "write 3, or quote it if it is text"),
        ("!!int '1_0'", "write 10, or quote it if it is text"),
    ],
)
def test_a_number_that_readers_of_yaml_take_for_different_ones_is_refused(text, remedy, tmp_path):
    (tmp_path / "r.yaml").write_text(f"a:\n  b: {text}\n")
    problems = []
    assert read_document(tmp_path, "r.yaml", problems) is None
    assert [(problem.line, problem.column, problem.remedy) for problem in problems] == [(2, 6, remedy)]
    assert problems[0].message.endswith("is not the same number to every reader of YAML")


def test_every_key_path_knows_its_place(tmp_path):
    (tmp_path / "r.yaml").write_text("a: {b: 1}\nc:\n  - d\n  - e: 2\n")
    document = read_document(tmp_path, "r.yaml", [])
    assert document is not None
    expected = {("a",): (1, 1), ("a", "b"): (1, 5), ("c", 0): (3, 5), ("c", 1, "e"): (4, 5)}
    assert expected.items() <= document.positions.items()
    # what is not in the file is placed at its nearest parent that is
    assert str(document.problem(("a", "x"), "wrong", "mend it")) == "r.yaml:1:1: wrong; mend it"


def test_the_comment_that_a_file_begins_with_is_its_head(tmp_path):
    for text, head in (("# a: b\n#  c\n\n# d\na: 1\n", ("a: b", "c")), ("a: 1\n# b\n", ())):
        (tmp_path / "r.yaml").write_text(text)
        document = read_document(tmp_path, "r.yaml", [])
        assert document is not None and document.head == head


def test_a_draft_is_read_in_place_of_the_file(tmp_path):
    problems = []
    document = read_document(tmp_path, "r.yaml", problems, draft="a: {b: 1}\n")
    assert document is not None and (document.file, document.values) == ("r.yaml", {"a": {"b": 1}})
    assert read_document(tmp_path, "r.yaml", problems, draft="a: [\n") is None and problems[0].file == "r.yaml"


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    (tmp_path / "r.yaml").write_bytes("\ufeffa: 1\r\nb: {c: 2}\r\n".encode())
    document = read_document(tmp_path, "r.yaml", [])
    assert document is not None and document.values == {"a": 1, "b": {"c": 2}}


def test_what_cannot_be_read_is_a_problem(tmp_path):
    problems = []
    assert read_document(tmp_path, "absent.yaml", problems) is None
    (tmp_path / "folder.yaml").mkdir()
    assert read_document(tmp_path, "folder.yaml", problems) is None
    (tmp_path / "large.yaml").write_text("a: " + "x" * 100_001)
    assert read_document(tmp_path, "large.yaml", problems) is None
    assert [problem.message for problem in problems] == [
        "no such file",
        "is a folder, not a file of text",
        "is 100,004 bytes, too large for a recipe",
    ]
