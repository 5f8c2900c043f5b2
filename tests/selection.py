"""Which files below tests/stages hold a test that pytest's arguments select, without the environments they run in.

Pytest collects them itself, in .venv, so that `-k`, `-m` and paths mean what they mean to it. A package that is not
there is stood in for by values that know nothing: whatever would decide by one raises, and its file counts as
selected. So more may be selected than will be run, and never less.

`python tests/selection.py FILE ARGUMENT...` writes what it found to FILE as JSON; its exit code is pytest's.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
STAGES = ROOT / "tests" / "stages"


def environment_of(path: Path) -> str:
    """The environment that a test file names on its first line; empty if it names none."""
    match = re.match(r"# environment: (\w+)\n", path.read_text(encoding="utf-8"))
    return match[1] if match else ""


class UnknownError(Exception):
    """A test module would decide by a value of a package that is not here."""


class Unknown:
    """A value of such a package, or made from one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Unknown:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Unknown(f"{self._name}.{name}")

    def __repr__(self) -> str:
        return f"<{self._name}, which is not here>"

    def __mro_entries__(self, bases: tuple[object, ...]) -> tuple[type, ...]:
        return ()

    def _made(self, *_: object, **__: object) -> Unknown:
        return Unknown(f"what {self._name} makes")

    __call__ = __getitem__ = _made
    __or__ = __ror__ = __and__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _made
    __truediv__ = __rtruediv__ = __pow__ = __matmul__ = __neg__ = _made

    def _decide(self, *_: object) -> NoReturn:
        raise UnknownError(f"{self!r}: it cannot be decided by here")

    __bool__ = __iter__ = __len__ = __contains__ = __int__ = __index__ = __float__ = __str__ = __format__ = _decide
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _decide
    __hash__ = object.__hash__


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Unknown:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        value = Unknown(f"{self.__name__}.{name}")
        setattr(self, name, value)  # the same object whoever imports it
        return value


class MissingPackages(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what no other finder has, where a file of this repository imports it.

    A package that looks for another one, which it can do without, is still told that there is none.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        parent = name.rpartition(".")[0]
        ours = isinstance(sys.modules.get(parent), _Module) if parent else _importer().is_relative_to(ROOT)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if ours else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return None


def _importer() -> Path:
    """The file whose import statement is being carried out."""
    frame = sys._getframe(1)
    while frame.f_back and (frame.f_code.co_filename == __file__ or "importlib" in frame.f_code.co_filename):
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    return Path() if "site-packages" in path.parts else path


class Selector:
    """Notes, as a plugin of pytest, which arguments are paths and which files hold a selected test."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.files: set[Path] = set()
        self.unknown: dict[str, str] = {}
        """what could not be told without its package: a file or a test, and why"""
        self.collected = False
        self._unsure: list[pytest.Item] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        self.paths = list(config.option.file_or_dir)
        # a name behind `::` may hold what only the package knows: the whole file is looked at
        wanted = [Path(path.partition("::")[0]) for path in self.paths] or [STAGES]
        absolute = [path if path.is_absolute() else ROOT / path for path in wanted]
        below = [path for path in absolute if path.is_relative_to(STAGES)]
        above = [STAGES] if any(STAGES.is_relative_to(path) for path in absolute) else []
        config.args = [path.relative_to(ROOT).as_posix() for path in dict.fromkeys([*below, *above])]
        config.option.maxfail = 0  # a file that cannot be collected here hides no other

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> pytest.Module:
        """All are collected in this one process, which tests/conftest.py refuses elsewhere."""
        return pytest.Module.from_parent(parent, path=module_path)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._cannot_tell(ROOT / report.nodeid.partition("::")[0], report.nodeid, str(report.longrepr))

    def pytest_pycollect_makeitem(self, collector: pytest.Collector, name: str, obj: object) -> None:
        if isinstance(obj, Unknown) and name.lower().startswith("test"):
            self._cannot_tell(collector.path, f"{collector.nodeid}::{name}", repr(obj))

    def pytest_make_parametrize_id(self, config: pytest.Config, val: object, argname: str) -> str | None:
        if isinstance(val, Unknown):
            return f"{argname}{_UNTOLD}"
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._unsure = [item for item in items if _UNTOLD in item.name]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in self._unsure:
            self._cannot_tell(item.path, item.nodeid, "its parameters are those of a package that is not here")
        self.files.update(item.path for item in session.items)
        self.collected = True

    def _cannot_tell(self, path: Path, what: str, why: str) -> None:
        self.files.add(path)
        self.unknown[what] = why


_UNTOLD = "␀"


def select(arguments: Sequence[str]) -> tuple[int, dict[str, Any], str]:
    """What pytest would run of tests/stages: its exit code, what was found, and what pytest said."""
    selector, said = Selector(), io.StringIO()
    sys.meta_path.append(MissingPackages())
    options = ["--collect-only", "--quiet", "-p", "no:cacheprovider"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = int(pytest.main([*options, *arguments], plugins=[selector]))
    found = {
        "collected": selector.collected,
        "paths": selector.paths,
        "files": sorted(path.relative_to(ROOT).as_posix() for path in selector.files),
        "unknown": selector.unknown,
    }
    return code, found, said.getvalue()


def main() -> int:
    code, found, said = select(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
    print(said)
    return code


if __name__ == "__main__":
    sys.exit(main())
