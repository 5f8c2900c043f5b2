# environment: torch
from __future__ import annotations

import importlib.metadata
from pathlib import Path

from recast.pipeline.core.import_names import imported_as

TESTS_OWN = {"iniconfig", "pluggy", "py", "pygments", "pytest", "recast"}


def test_what_the_packages_of_the_environment_are_imported_as_is_known() -> None:
    pins = (Path(__file__).parents[3] / "envs/torch.txt").read_text(encoding="utf-8").splitlines()
    known = imported_as(line.partition("==")[0] for line in pins if "==" in line and not line.startswith("#"))
    found = {top for top in importlib.metadata.packages_distributions() if top.isidentifier() and top[0] != "_"}
    assert {"torch", "sklearn", "PIL"} <= found
    # a script of sympy's, which nobody imports
    assert found - {"isympy"} - TESTS_OWN <= known
