"""The AST walk sees every way a module is imported."""

from __future__ import annotations

from recast.pipeline.planning.import_graph import closure, defined_names, import_closure, source_folders
from recast.stages.base import Source


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


def test_files_of_installed_packages_are_told_apart_and_followed(tmp_path):
    root, site = tmp_path / "root", tmp_path / "site"
    lay(root, {"a.py": "import p.b\nimport other\nimport recast.s.t\n", "c.py": "", "s/t.py": "", "p.py": ""})
    lay(site, {"p/__init__.py": "", "p/b.py": "from . import d\nimport c\n", "p/d.py": "", "other.py": ""})
    lay(site / "recast", {"s/t.py": "from . import u\n", "s/u.py": "", "s/v.py": ""})
    found = closure(root, "a", {"p": site, "recast": site / "recast"})
    assert found.files == ("a.py", "c.py")
    assert found.outside == (
        *(("p", file) for file in ("p/__init__.py", "p/b.py", "p/d.py")),
        *(("recast", file) for file in ("s/t.py", "s/u.py")),
    )


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


def test_sources_are_folders_of_packages_of_the_repository(tmp_path):
    lay(tmp_path, {"a/b/__init__.py": "", "a/b/c/x.c": ""})
    here, gone, elsewhere = (
        Source("x", "a.b", "c"),
        Source("y", "a.b", "d"),
        Source("z", "recast.stages.targets.cairo.run", "csrc"),
    )
    # one that was deleted is still asked for, so that DVC says that it is missing
    assert source_folders(tmp_path, [here, gone, elsewhere]) == ("a/b/c", "a/b/d")


def test_a_module_that_appears_is_seen_in_the_same_process(tmp_path):
    lay(tmp_path, {"a.py": "import later\n"})
    assert import_closure(tmp_path, "a") == ("a.py",)
    (tmp_path / "later.py").touch()
    assert import_closure(tmp_path, "a") == ("a.py", "later.py")


NESTED = """
class A:
    import m1
    async def f(self):
        for x in y:
            import m2
        else:
            import m3
        while x:
            import m4
        with x:
            import m5
        async with x:
            import m6
try:
    import m7
except ValueError:
    import m8
else:
    import m9
finally:
    import m10
try:
    pass
except* ValueError:
    import m11
if x:
    pass
elif y:
    import m12
else:
    import m13
match x:
    case 1:
        import m14
f = lambda: 1 if x else 2
"""


def test_an_import_counts_wherever_a_statement_may_stand(tmp_path):
    modules = [f"m{number}.py" for number in range(1, 15)]
    lay(tmp_path, {"a.py": NESTED, **dict.fromkeys(modules, "")})
    assert import_closure(tmp_path, "a") == tuple(sorted(["a.py", *modules]))
