"""On which kind of CPU a result was measured, beside the kind of this machine.

A result stands for all machines that share it, and int8 arithmetic differs between kinds of CPU. So `verify` records
the kind (`stages/common/onnx_models/cpu.py`), in its metrics and its report. docs/parity.md says what keeps results
the same.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from recast.pipeline.core.layout import METRICS, import_folder
from recast.pipeline.processes import environments

KEY = "cpu"
"""in metrics.json and parity.json"""


def of_this_machine(root: Path, names: Iterable[str]) -> str:
    """The kind as the first of these environments that is built finds it; empty where none is, or it cannot tell."""
    for name in names:
        environment = environments.find(root, name)
        if environment.is_built:
            command = [str(environment.python), "-P", "-m", "recast.stages.common.onnx_models.cpu"]
            path = {**os.environ, "PYTHONPATH": str(import_folder(root))}
            done = subprocess.run(command, cwd=root, env=path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode == 0:
                return done.stdout.strip()
    return ""


def in_metrics(content: str | bytes) -> str:
    """The kind that a metrics.json or parity.json records; empty if it does not."""
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    kind = found.get(KEY) if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else ""


def of_output(folder: Path) -> str:
    """The kind that the metrics in a stage's output record; empty if there are none, or they do not."""
    try:
        return in_metrics((folder / METRICS).read_bytes())
    except OSError:
        return ""


def beside(measured: str, here: str) -> str:
    """How the kind a result was measured on compares with this machine's, as a phrase without a full stop."""
    if not here:
        return f"measured on {measured}; what this machine is, no environment is built to tell"
    if measured == here:
        return f"measured on {measured}, as this machine is"
    return f"measured on {measured}, and this machine is {here}: see 'Kinds of CPU' in docs/parity.md"
