"""The AST walk sees every way a module is imported."""

from __future__ import annotations

from pipeline.closure import defined_names, import_closure


def lay(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_every_form_of_import_counts(tmp_path):
    lay(
        tmp_path,
        {
            "a/__init__.py": "",
            "a/b.py": "import a.c\nfrom a import d\nfrom .e import x\nfrom . import f\n\ndef late():\n    import g.h\n",
            "a/c.py": "import os, json\n",
            "a/d.py": "",
            "a/e.py": "from a.b import y\n",
            "a/f/__init__.py": "from .inner import z\n",
            "a/f/inner.py": "",
            "a/unused.py": "",
            "g/__init__.py": "",
            "g/h.py": "",
        },
    )
    expected = "a/__init__.py a/b.py a/c.py a/d.py a/e.py a/f/__init__.py a/f/inner.py g/__init__.py g/h.py"
    assert import_closure(tmp_path, "a.b") == tuple(expected.split())


def test_a_file_that_does_not_parse_still_counts(tmp_path):
    lay(tmp_path, {"a.py": "import b\n", "b.py": "def broken(:\n"})
    assert import_closure(tmp_path, "a") == ("a.py", "b.py")


def test_a_changed_import_is_seen_in_the_same_process(tmp_path):
    lay(tmp_path, {"a.py": "import b\n", "b.py": "", "c.py": ""})
    assert import_closure(tmp_path, "a") == ("a.py", "b.py")
    (tmp_path / "a.py").write_text("import c  # now\n")
    assert import_closure(tmp_path, "a") == ("a.py", "c.py")


def test_names_a_module_defines(tmp_path):
    lay(tmp_path, {"a.py": "import os\nfrom b import c as d\nX = 1\nclass E: ...\n", "s.py": "from b import *\n"})
    assert defined_names(tmp_path / "a.py") == {"os", "d", "X", "E"}
    assert defined_names(tmp_path / "s.py") is None
