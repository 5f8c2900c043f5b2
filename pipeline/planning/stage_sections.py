"""What the files say of one stage, read without a look at anything else in them: whether an edit concerns it.

Recipes are checked and resolved in `recipe` and `resolve`, where a mistake anywhere in a recipe is one of the recipe.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from recast.pipeline.core.layout import DEFAULTS, RECIPES, TARGETS
from recast.pipeline.planning.plan import PlannedStage
from recast.pipeline.recipes.defaults import CODE_KEYS, read_defaults
from recast.pipeline.recipes.document import Document, read_document
from recast.pipeline.recipes.own_packages import REQUIREMENTS
from recast.pipeline.recipes.recipe import SAID_AT_THE_TOP

Sections = Mapping[tuple[str, str], Any]
Stamp = tuple[tuple[str, int, int, int, int], ...]


def sources_stamp(root: Path) -> Stamp:
    """Changes when a recipe, a target or the defaults are edited; to be taken before a plan is made from them."""
    found = []
    for path in sorted([root / DEFAULTS, *(root / RECIPES).rglob("*.yaml")]):
        with contextlib.suppress(OSError):  # an editor's own file, just taken away; a link that leads nowhere
            stat = path.stat()
            found.append((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(found)


def sections(root: Path, stage: PlannedStage) -> Sections | None:
    """Everything that may feed the stage's values, by file and dotted key; None if one of the files cannot be read.

    These are params.yaml, the target, the stage's recipe and those that it extends.
    """
    found: dict[tuple[str, str], Any] = {}
    # a stage set of Recast or of a plugin is no file of the repository, and nobody edits it during a run
    target = f"{TARGETS}/{stage.target}.yaml"
    shared = [DEFAULTS, *([target] if stage.target and (root / target).exists() else ())]
    waiting = [*shared, f"{RECIPES}/{stage.recipe}.yaml"]
    seen: set[str] = set()
    while waiting:
        file = waiting.pop()
        seen.add(file)
        document = _document(root, file)
        if document is None:
            return None
        for path in _paths(stage):
            value: Any = document.values
            for key in path:
                value = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
            if value is not _ABSENT:
                found[file, ".".join(path)] = value
        if stage.target and file not in shared:
            targets = document.values.get("targets")
            # whether the recipe has the target, or says that it has not
            listed = targets.get(stage.target, _ABSENT) if isinstance(targets, Mapping) else _ABSENT
            found[file, "targets"] = "absent" if listed is _ABSENT else "false" if listed is False else "listed"
        base = f"{RECIPES}/{document.values.get('extends')}.yaml"
        if "extends" in document.values and base not in seen:
            waiting.append(base)
    return found


_ABSENT = object()


def _document(root: Path, file: str) -> Document | None:
    try:
        found = (root / file).stat()
    except OSError:
        return None
    return _read(root, file, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


@lru_cache(maxsize=64)
def _read(root: Path, file: str, stamp: tuple[int, ...]) -> Document | None:
    """One file is read for many stages; its stamp is there to have it read again."""
    return read_defaults(root, []) if file == DEFAULTS else read_document(root, file, [])


def _paths(stage: PlannedStage) -> list[tuple[str, ...]]:
    at_the_top = [(key,) for key in (*SAID_AT_THE_TOP, "extends", "isolated")]
    own = [("stages", stage.name), ("uses", stage.name), *at_the_top]
    if "model" in stage.params:
        own += [(key,) for key in (*CODE_KEYS, REQUIREMENTS)]
    return [*own, *([("targets", stage.target, stage.name)] if stage.target else ())]
