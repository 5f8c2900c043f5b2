"""The process in the environment `release`: checks a bill of materials against its schema, signs, checks a signature.

    python -m recast.pipeline.release.tools_process < JOB

JOB and the answer are JSON objects: `{"do": ..., ...}` -> `{}` or `{"refused": ...}`. It imports nothing of the
runner's, whose packages that environment does not have.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _check_bom(job: dict[str, Any]) -> str:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    version = SchemaVersion.from_version(job["version"])
    found = JsonStrictValidator(version).validate_str(Path(job["bom"]).read_text(encoding="utf-8"))
    return "" if found is None else f"the bill of materials is not what CycloneDX {job['version']} says: {found}"


def _sign(job: dict[str, Any]) -> str:
    from model_signing import hashing, signing

    folder, signature = Path(job["folder"]), Path(job["signature"])
    config = signing.Config().set_hashing_config(_hashing(hashing, signature))
    try:
        config.use_elliptic_key_signer(private_key=Path(job["key"])).sign(folder, signature)
    # whatever its cryptography stumbles over
    except Exception as error:
        return f"the key cannot sign: {error or type(error).__name__}"
    return ""


def _verify(job: dict[str, Any]) -> str:
    from model_signing import hashing, verifying

    folder, signature = Path(job["folder"]), Path(job["signature"])
    config = verifying.Config().set_hashing_config(_hashing(hashing, signature))
    try:
        config.use_elliptic_key_verifier(public_key=Path(job["key"])).verify(folder, signature)
    # a signature that was changed may be anything
    except Exception as error:
        return f"the signature is not that of this key over these files: {error or type(error).__name__}"
    return ""


def _hashing(hashing: Any, signature: Path) -> Any:
    """Every file, but the signature itself and none besides: a hidden one is a file as well."""
    config = hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    return config.set_ignored_paths(paths=[signature], ignore_git_paths=False)


_DOES: dict[str, Callable[[dict[str, Any]], str]] = {"check bom": _check_bom, "sign": _sign, "check signature": _verify}


def main() -> None:
    """Do the one job that standard input says."""
    job = json.load(sys.stdin)
    refused = _DOES[job["do"]](job)
    sys.stdout.write(json.dumps({"refused": refused} if refused else {}))


if __name__ == "__main__":
    main()
