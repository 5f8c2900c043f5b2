"""Where a key that stands in the wrong place of a recipe belongs."""

from __future__ import annotations

from collections.abc import Iterable

from recast.stages.registry import REGISTRY, TRUNK, load, of_targets, split


def top_level(key: str, targets: Iterable[str]) -> str:
    """A remedy for a key at the top of a recipe that is one of another place; empty if it is of none."""
    if key in TRUNK:
        return f"it belongs below 'stages', as 'stages: {{{key}: {{…}}}}'"
    if key in targets:
        return f"it belongs below 'targets', as 'targets: {{{key}: {{…}}}}'"
    if key == "data_root":
        return "it belongs in params.yaml"
    if of_targets(key):
        return f"it belongs below a target, as 'targets: {{NAME: {{{key}: {{…}}}}}}'"
    return belongs(key)


def belongs(param: str, stage: str | None = None, target: str | None = None) -> str:
    """A remedy that names the stages which do have the param; empty if none but the given one has.

    Of a target's stages only those of the given target, or of any where none is given.
    """
    found = []
    for name in REGISTRY:
        of, own = split(name)
        if (own == stage and of == target) or (of and target and of != target) or (of and stage in TRUNK):
            continue
        if param in load(name).params.model_fields and param not in ("model", "task", "resources"):
            found.append(own)
    names = [f"'{name}'" for name in dict.fromkeys(found)]
    return f"it is a param of {' and '.join(names)}" if names else ""
