"""How a release came to be: an in-toto statement with the predicate of SLSA's provenance.

https://in-toto.io/Statement/v1 and https://slsa.dev/provenance/v1. It has SLSA's shape and claims no level of it: who
ran the build is not vouched for by anybody. Times are left out, so that the same build says the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recast.pipeline.core.version import version

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:recast:release:1"
"""stages of a recipe, run by DVC's rules, each in a process and environment of its own"""


def provenance(manifest: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """The content of provenance.intoto.json. `files`: name in the release -> SHA-256, of all but this and the sums."""
    packages = sorted(
        {
            pin.partition(";")[0].strip()
            for environment in manifest["environments"].values()
            for layer in environment["pins"].values()
            for pin in layer["pins"]
        }
    )
    code = {
        (entry["path"], entry["md5"])
        for stage in manifest["stages"].values()
        for entry in stage["dvc"].get("deps", ())
        if "md5" in entry and not entry["md5"].endswith(".dir") and not entry["path"].startswith("artifacts/")
    }
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "recipe": manifest["recipe"],
                    "target": manifest["target"],
                    "version": manifest["version"],
                    "licence": manifest["licence"],
                },
                "internalParameters": {
                    id: {"command": stage["dvc"]["cmd"], "params": stage["params"]}
                    for id, stage in manifest["stages"].items()
                },
                "resolvedDependencies": [
                    {
                        "name": "the repository",
                        "digest": {"gitCommit": manifest["git"]["commit"]},
                        "annotations": {"dirty": manifest["git"]["dirty"]},
                    },
                    *({"name": name, "digest": {"md5": digest}} for name, digest in sorted(code)),
                    *(
                        {"name": str(one["name"] or one["said_in"]), "digest": {"sha256": one["sha256"]}}
                        for one in manifest["origins"]
                    ),
                    *({"name": pin, "uri": f"pkg:pypi/{pin.replace('==', '@')}"} for pin in packages),
                ],
            },
            "runDetails": {"builder": {"id": "urn:recast:run", "version": {"recast": version()}}, "metadata": {}},
        },
    }
