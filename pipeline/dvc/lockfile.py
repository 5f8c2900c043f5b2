"""dvc.lock as plain values: read and written as DVC does it, entries sorted by name.

DVC itself appends an entry when a stage ends, so that two people's files differ in order alone.
"""

from __future__ import annotations

import io
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter, SafeRepresenter

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.whole_file import replaced

LOCK = "dvc.lock"
SCHEMA = "2.0"
_STAGES = "stages"
_REMEDY = "take one side of it ('git checkout --ours dvc.lock' or '--theirs'), then run 'recast run' and commit it"
# ruamel's own emitter, which DVC uses, may fold a text that reaches this column
_FOLDS_AT = 76


def read_lock(path: Path) -> dict[str, Any]:
    """The lock's content; one without stages where the file is absent or empty.

    Raises RecastError for a file that is no lock of DVC 2 or 3, such as one with git's conflict markers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError:
        raise RecastError(f"{path.name} is not text, so no lock of DVC", _REMEDY) from None
    return parse_lock(text, path.name)


def parse_lock(text: str, name: str = LOCK) -> dict[str, Any]:
    """What `read_lock` gives, from text; the name is for messages."""
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise RecastError(f"{name} has git's conflict markers in it", _REMEDY)
    try:
        document: dict[str, Any] | None = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise RecastError(f"{name} is no YAML: {' '.join(str(error).split())}", _REMEDY) from None
    if document is None:
        return {"schema": SCHEMA, _STAGES: {}}
    if problem := _wrong(document):
        raise RecastError(f"{name} is no lock of DVC: {problem}", _REMEDY)
    document.setdefault(_STAGES, {})
    return document


def _wrong(document: object) -> str:
    if not isinstance(document, dict):
        return "it is not a mapping"
    if document.get("schema") != SCHEMA:
        return f"its schema is {document.get('schema')!r}, not {SCHEMA!r}"
    stages = document.get(_STAGES, {})
    if not isinstance(stages, dict):
        return "'stages' is not a mapping"
    for name, entry in stages.items():
        if not isinstance(entry, dict) or "cmd" not in entry or not isinstance(entry.get("params", {}), dict):
            return f"stage '{name}' is not an entry with a command"
        for item in [*(entry.get("deps") or []), *(entry.get("outs") or [])]:
            if not isinstance(item, dict) or "path" not in item:
                return f"stage '{name}' has a dependency or output without a path"
    return ""


def write_lock(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the file at once, so that a reader and a kill see the old one or the new one."""
    path = path.resolve()
    with replaced(path) as fresh:
        fresh.write_text(render_lock(document), encoding="utf-8")
        if path.exists():
            shutil.copymode(path, fresh)


def render_lock(document: Mapping[str, Any]) -> str:
    """The lock as text: byte for byte what DVC writes, but for the order of the stages."""
    return "".join(_parts(document))


def _parts(document: Mapping[str, Any]) -> Iterator[str]:
    for key, value in document.items():
        if key != _STAGES or not value:
            yield _emit({key: value}, by_c=False)
            continue
        yield f"{_STAGES}:\n"
        # libyaml is several times as fast, and differs only in how it breaks lines and quotes
        for simple, group in groupby(sorted(value.items()), key=lambda item: _fits(dict([item]), 2)):
            yield _emit({_STAGES: dict(group)}, by_c=simple).removeprefix(f"{_STAGES}:\n")


def _fits(value: object, column: int) -> bool:
    """Whether nothing in the value, written from this column on, is broken or quoted otherwise by the other emitter."""
    if isinstance(value, str):
        plain = value.isprintable() and "'" not in value and max(value, default="") <= "\uffff"
        return plain and column + len(value) < _FOLDS_AT
    if isinstance(value, Mapping):
        return all(
            _fits(key, column) and _fits(item, column + (2 if isinstance(item, Mapping | list) else len(str(key)) + 4))
            for key, item in value.items()
        )
    if isinstance(value, list | tuple):
        return all(item is not None and _fits(item, column + 4) for item in value)
    return True


class _AsDvcWrites:
    """What both representers share: keys in their order, None as nothing, no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_nothing(self, data: None) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:null", "")  # type: ignore[attr-defined]

    def represent_in_order(self, data: Mapping[str, Any]) -> Any:
        return self.represent_mapping("tag:yaml.org,2002:map", list(data.items()))  # type: ignore[attr-defined]


class _Fast(_AsDvcWrites, SafeRepresenter):
    pass


class _Slow(_AsDvcWrites, RoundTripRepresenter):
    pass


for _class in (_Fast, _Slow):
    _class.add_representer(type(None), _class.represent_nothing)
for _mapping in (dict, OrderedDict):
    _Fast.add_representer(_mapping, _Fast.represent_in_order)
    _Slow.add_representer(_mapping, _Slow.represent_dict)


def _emit(document: Mapping[str, Any], *, by_c: bool) -> str:
    yaml = YAML(typ="safe") if by_c else YAML()
    yaml.Representer = _Fast if by_c else _Slow
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    text = io.StringIO()
    yaml.dump(document, text)
    # libyaml leaves a space where nothing stands for None
    return text.getvalue().replace(": \n", ":\n") if by_c else text.getvalue()
