"""The bill of materials of a release in CycloneDX 1.6, with the model as such (an ML-BOM), computed from what is known.

https://cyclonedx.org/docs/1.6/json/ ; it is checked against that schema by the package cyclonedx-python-lib, which
itself has no model cards.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from recast.pipeline.core.version import version as recast_version
from recast.pipeline.release.licences import Package
from recast.pipeline.release.manifest import origins
from recast.pipeline.release.scores import Score, scores
from recast.pipeline.release.subject import Subject

SPEC = "1.6"
_MODEL = "model"


def bom(
    subject: Subject,
    packages: Mapping[str, Iterable[Package]],
    emitted: Mapping[str, str],
    version: str,
    licence: str,
) -> dict[str, Any]:
    """The content of bom.cdx.json. `emitted`: name in the release -> SHA-256, of the emitted folder's files."""
    data = [_data(number, one) for number, one in enumerate(origins(subject))]
    files = [
        {
            "type": "file",
            "bom-ref": f"file:{name}",
            "name": name,
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        for name, digest in sorted(emitted.items())
    ]
    libraries = _libraries(packages)
    content: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "recast", "version": recast_version()}]},
            "component": _model(subject, data, version, licence),
        },
        "components": [*files, *data, *libraries],
        "dependencies": [
            {"ref": _MODEL, "dependsOn": sorted(one["bom-ref"] for one in (*files, *data))},
            *({"ref": one["bom-ref"]} for one in (*files, *data, *libraries)),
        ],
    }
    # of the content, so that it is the same each time
    name = json.dumps(content, sort_keys=True)
    return {**content, "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, name).urn}


def _model(subject: Subject, data: list[dict[str, Any]], version: str, licence: str) -> dict[str, Any]:
    contract = subject.contract
    task = contract.get("task", {})
    card: dict[str, Any] = {
        "modelParameters": {
            "task": str(task.get("name", "unknown")),
            "datasets": [{"ref": one["bom-ref"]} for one in data],
            "inputs": [{"format": _tensor(one)} for one in contract.get("inputs", ())],
            "outputs": [{"format": _tensor(one)} for one in contract.get("outputs", ())],
        },
        "quantitativeAnalysis": {"performanceMetrics": [_metric(one) for one in scores(subject)]},
    }
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": subject.address.dvc_name,
        "description": f"{subject.address.recipe}, recast for {subject.address.target}",
        "modelCard": card,
        "properties": [
            {"name": "recast:git:commit", "value": subject.git.commit},
            {"name": "recast:git:dirty", "value": str(subject.git.is_dirty).lower()},
        ],
    }
    if version:
        component["version"] = version
    if licence:
        component["licenses"] = [{"expression": licence}]
    return component


def _tensor(one: Mapping[str, Any]) -> str:
    shape = ", ".join("any" if length is None else str(length) for length in one.get("shape", ()))
    return f"{one.get('name')}: {one.get('dtype')} (n, {shape})" if shape else f"{one.get('name')}: {one.get('dtype')}"


def _metric(one: Score) -> dict[str, str]:
    return {"type": one.name, "value": f"{one.value:.6g}", "slice": one.of}


def _data(number: int, one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{number}",
        "name": str(one["name"] or one["said_in"]),
        "hashes": [{"alg": "SHA-256", "content": one["sha256"]}],
        "properties": [
            {"name": "recast:stage", "value": one["stage"]},
            {"name": "recast:said-in", "value": one["said_in"]},
        ],
    }


def _libraries(packages: Mapping[str, Iterable[Package]]) -> list[dict[str, Any]]:
    """Packages that made the model: not part of it, which CycloneDX calls `excluded`."""
    used: dict[Package, list[str]] = {}
    for environment, found in packages.items():
        for one in found:
            used.setdefault(one, []).append(environment)
    made = []
    for one, environments in sorted(used.items()):
        url = f"pkg:pypi/{quote(one.name.lower().replace('_', '-'))}@{quote(one.version)}"
        component: dict[str, Any] = {
            "type": "library",
            "bom-ref": url,
            "name": one.name,
            "version": one.version,
            "purl": url,
            "scope": "excluded",
            "properties": [{"name": "recast:environment", "value": name} for name in sorted(environments)],
        }
        if one.licence:
            is_spdx = one.source == "License-Expression"
            component["licenses"] = [{"expression": one.licence}] if is_spdx else [{"license": {"name": one.licence}}]
        made.append(component)
    return made
