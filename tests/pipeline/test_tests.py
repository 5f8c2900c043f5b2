"""Rules that hold for the tests themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.lib.repository import ROOT

# of Python, DVC, PyTorch and its modules: no function of ours
OTHERS = {
    *("_get_cache_hash", "_getframe", "_load_yaml", "_make_cmd", "_replace"),
    *("_forward", "_forward_hooks", "_forward_pre_hooks", "_load_from_state_dict"),
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names(tree: ast.AST) -> Iterator[str]:
    """What a module uses of others that they keep to themselves; its own classes may look at what is theirs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):
            texts = [one.value for one in node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
            yield from (text for text in texts if is_private(text.rpartition(".")[2]))


def test_a_name_of_each_kind_is_found() -> None:
    found = "from a import _b\nc._d()\npatch.setattr(e, '_f', 1)\npatch.setattr('g._h', 1)\nself._own\n__file__\n"
    assert sorted(private_names(ast.parse(found))) == ["_b", "_d", "_f", "g._h"]


def test_nothing_is_used_that_a_module_keeps_to_itself() -> None:
    paths = sorted((ROOT / "tests").rglob("*.py"))
    assert paths
    used = {path.relative_to(ROOT).as_posix(): {*private_names(ast.parse(path.read_text()))} - OTHERS for path in paths}
    assert {path: names for path, names in used.items() if names} == {}
