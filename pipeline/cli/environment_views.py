"""What `recast env list` shows: the environments of this repository, and what else lies beside them."""

from __future__ import annotations

import json
from pathlib import Path

from recast.pipeline.core.layout import OLD_ENVIRONMENTS, environments_folder, launcher
from recast.pipeline.processes import environments


def as_json(root: Path) -> str:
    """For tools."""
    document = {
        "folder": str(environments_folder()),
        "environments": [
            {
                "name": found.name,
                "python": found.python_version,
                "built": found.is_built,
                "directory": str(found.directory),
                "size": found.size,
            }
            for found in environments.wanted(root)
        ],
        "others": [
            {"directory": str(kept.directory), "users": [str(user) for user in kept.users]}
            for kept in environments.others(root)
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_text(root: Path) -> str:
    """For people."""
    lines = [f"environments lie in {environments_folder()}"]
    for found in environments.wanted(root):
        state = f"built ({found.directory.name})" if found.is_built else f"not built ({found.size})"
        lines.append(f"{found.name:<12} python {found.python_version}  {state}")
    prune = f"'{launcher(root)} env prune'"
    for kept in environments.others(root):
        used = (
            f"used by {', '.join(map(str, kept.users))}" if kept.users else f"used by no repository; {prune} deletes it"
        )
        lines.append(f"also there: {kept.directory.name}, {used}")
    if (root / OLD_ENVIRONMENTS).exists():
        lines.append(f"{OLD_ENVIRONMENTS}: of an earlier version, and no longer used; {prune} deletes it")
    return "\n".join(lines)
