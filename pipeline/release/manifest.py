"""The manifest of a release: from what it was made, in hashes and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recast.pipeline.core.pins import lock_of, pinned
from recast.pipeline.core.version import described
from recast.pipeline.processes.environment import Environment
from recast.pipeline.release.files import digests, found, sha256
from recast.pipeline.release.layout import FORMAT
from recast.pipeline.release.subject import Subject

_DIGEST = "sha256"


def manifest(subject: Subject, used: Mapping[str, Environment], version: str, licence: str) -> dict[str, Any]:
    """The content of manifest.json.

    `used`: the environments that the stages run in. `version` and `licence` are what the user says, else empty.
    """
    address = subject.address
    return {
        "format": FORMAT,
        "recipe": address.recipe,
        "target": address.target,
        "version": version or None,
        "licence": licence or None,
        "recast": described(),
        "git": {
            "commit": subject.git.commit,
            "dirty": subject.git.is_dirty,
            "changes": list(subject.git.changes),
        },
        "emitted_by": subject.emitting.uses,
        "artifact": subject.emitting.stage.emits,
        "verified_by": subject.verifying.id,
        "order": [stage.id for stage in subject.stages],
        "stages": {stage.id: _stage(subject, stage.id) for stage in subject.stages},
        "origins": origins(subject),
        "environments": {name: _environment(environment) for name, environment in used.items()},
    }


def _stage(subject: Subject, id: str) -> dict[str, Any]:
    stage = next(one for one in subject.stages if one.id == id)
    folder = subject.root / stage.out
    return {
        "uses": stage.uses,
        "environment": stage.environment,
        "params": dict(stage.params),
        "reads": dict(stage.inputs),
        "dvc": dict(subject.lock[id]),
        "files": digests(folder, found(folder)),
    }


def origins(subject: Subject) -> list[dict[str, Any]]:
    """What came from outside: data and weights, by the digest that a stage recorded of them, and files of recipes."""
    made: list[dict[str, Any]] = []
    for stage in subject.stages:
        for where, values in (("metrics", subject.metrics[stage.id]), ("params", stage.params)):
            for key, digest in _digests(values):
                name = values.get("dataset") or values.get("name") if isinstance(values, Mapping) else None
                made.append({"stage": stage.id, "said_in": f"{where}: {key}", "name": name, _DIGEST: digest})
        for param, path in sorted(stage.files.items()):
            place = subject.root / path
            if place.is_file():
                made.append({"stage": stage.id, "said_in": f"params: {param}", "name": path, _DIGEST: sha256(place)})
    return made


def _digests(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every SHA-256 in nested values whose key says that it is one, with that key."""
    if isinstance(values, Mapping):
        for name, value in sorted(values.items()):
            yield from _digests(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, str) and _DIGEST in key.rpartition(".")[2] and len(values) == 64:
        yield key, values


def _environment(environment: Environment) -> dict[str, Any]:
    pins = {
        Path(layer.pins).name: {
            _DIGEST: sha256(layer.pins),
            "pins": list(pinned(layer.pins.read_text(encoding="utf-8"))),
        }
        for layer in environment.layers
    }
    base, lock = lock_of(environment.name)
    return {"python": environment.python_version, "of": base, "own_packages": lock, "pins": pins}
