"""Under which licences the packages are that made a release, as their installed metadata say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from recast.pipeline.core.pins import pinned
from recast.pipeline.processes.environment import Environment

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)")
_CLASSIFIER = "License :: "
_LONGEST = 120
"""characters of a licence's name; what is longer is the text of one"""


@dataclass(frozen=True, order=True)
class Package:
    """A package that is pinned, and what it says of its licence."""

    name: str
    version: str
    """that of the pin: what is installed may bear a mark of the device besides (`+cpu`)"""
    licence: str
    """empty where it is not known"""
    source: str
    """the field of the metadata that says so: `License-Expression` holds SPDX, the others anything; empty likewise"""


def packages(environment: Environment) -> tuple[Package, ...]:
    """Every pin of the environment, sorted. What is not installed here has no known licence."""
    installed = _installed(environment)
    found = []
    for layer in environment.layers:
        for line in pinned(layer.pins.read_text(encoding="utf-8")):
            if pin := _PIN.match(line):
                licence, source = _licence(installed.get(_plain(pin["name"])))
                found.append(Package(pin["name"], pin["version"], licence, source))
    return tuple(sorted(found))


def _installed(environment: Environment) -> Mapping[str, metadata.Distribution]:
    folders = [
        str(path)
        for layer in environment.layers
        for path in sorted(Path(layer.directory).glob("lib/python*/site-packages"))
    ]
    return {_plain(one.metadata["Name"]): one for one in metadata.distributions(path=folders) if one.metadata["Name"]}


def _plain(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(installed: metadata.Distribution | None) -> tuple[str, str]:
    if installed is None:
        return "", ""
    said = installed.metadata
    expression = said["License-Expression"].strip() if "License-Expression" in said else ""
    if expression:
        return expression, "License-Expression"
    name = said["License"].strip() if "License" in said else ""
    if name and "\n" not in name and len(name) <= _LONGEST and name.upper() != "UNKNOWN":
        return name, "License"
    classified = sorted(
        one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or () if one.startswith(_CLASSIFIER)
    )
    classified = [one for one in classified if one != "OSI Approved"]
    return (", ".join(classified), "Classifier") if classified else ("", "")


def as_content(by_environment: Mapping[str, Iterable[Package]], own: str) -> dict[str, object]:
    """For licences.json. `own` is the licence of the model itself, empty where nobody has said it."""
    unknown = sorted({one.name for found in by_environment.values() for one in found if not one.licence})
    return {
        "model": own or None,
        "packages": {
            name: [
                {"name": one.name, "version": one.version, "licence": one.licence or None, "source": one.source or None}
                for one in found
            ]
            for name, found in by_environment.items()
        },
        "unknown": unknown,
        "note": "Packages made the model and are not part of it. A licence is what the package's metadata say, "
        "which nobody has checked; null is not known.",
    }
