"""Calls of the packages that check a bill of materials and sign: they run in the environment `release`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import import_folder
from recast.pipeline.processes import environments
from recast.pipeline.processes.tool_variables import tool_variables
from recast.pipeline.release.bom import SPEC
from recast.pipeline.release.layout import BOM, SIGNATURE

ENVIRONMENT = "release"
Say = Callable[[str], None]


def check_bom(root: Path, folder: Path, say: Say) -> None:
    """RecastError unless the bill of materials in the folder keeps to CycloneDX's own schema."""
    _call(root, {"do": "check bom", "bom": str(folder / BOM), "version": SPEC}, say, "report it: Recast has written it")


def sign(root: Path, folder: Path, key: Path, say: Say) -> None:
    """Sign every file of the folder into its `model.sig`, with a private key in PEM. RecastError if it cannot."""
    remedy = (
        "give a PEM file with an unencrypted private key of the curve P-256, P-384 or P-521, as "
        "'openssl ecparam -name prime256v1 -genkey -noout -out key.pem' writes it"
    )
    _call(root, {"do": "sign", **_where(folder, key)}, say, remedy)


def verify(root: Path, folder: Path, key: Path, say: Say) -> None:
    """RecastError unless `model.sig` is that of the key, a public one in PEM, over every file of the folder."""
    remedy = (
        "take the release from who signed it, and the public key of whom you trust, as "
        "'openssl ec -in key.pem -pubout' writes it"
    )
    _call(root, {"do": "check signature", **_where(folder, key)}, say, remedy)


def _where(folder: Path, key: Path) -> dict[str, str]:
    if not key.is_file():
        raise RecastError(f"there is no key {key}", "give the path of a PEM file")
    return {"folder": str(folder), "signature": str(folder / SIGNATURE), "key": str(key.resolve())}


def _call(root: Path, job: Mapping[str, Any], say: Say, remedy: str) -> None:
    environment = environments.ensure(root, ENVIRONMENT, say)
    command = [str(environment.python), "-P", "-m", "recast.pipeline.release.tools_process"]
    variables = {**os.environ, **tool_variables(root), "PYTHONPATH": str(import_folder(root))}
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, env=variables)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{job['do']}: {last[0]}")  # a bug of ours, or of the packages
    if refused := json.loads(done.stdout).get("refused"):
        raise RecastError(refused, remedy)
