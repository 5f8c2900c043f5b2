"""The work: one module per stage. Knows nothing of the runner."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""the folder that holds our `pipeline`, `stages`, `envs` and `recipes/targets`: a clone, or the installed package"""
IS_INSTALLED = not (PACKAGE / "src").is_dir()
"""whether that is the installed package, whose files are no repository's"""
LAUNCHER = "recast" if IS_INSTALLED else "./recast"
"""how Recast is called: by the command that was installed, or by the clone's launcher"""
