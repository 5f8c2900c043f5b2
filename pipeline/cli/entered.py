"""The project that a verb works in, entered, and the plan of its recipes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.cli.terminal import warn
from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.layout import PACKAGE, find_root, user_folder
from recast.stages import IS_INSTALLED

if TYPE_CHECKING:
    from recast.pipeline.planning.plan import Plan


def enter_root() -> Path:
    """The repository's root, entered: DVC takes names relative to the current directory."""
    root = find_root()
    if IS_INSTALLED and (root / "src" / "recast").is_dir():
        raise RecastError("this is a clone of Recast, which runs its own code", "use its own './recast' here")
    os.chdir(root)
    return root


def enter_root_or_outside() -> Path:
    """The same; where there is no project, a place that is none, for what works on a release alone."""
    try:
        return enter_root()
    except RecastError:
        place = user_folder() / "outside" if IS_INSTALLED else PACKAGE
        place.mkdir(parents=True, exist_ok=True)
        os.chdir(place)
        return place


def everything(root: Path, wanted: Sequence[str]) -> Plan:
    """The plan of every recipe, for a verb that works on the wanted ones; with some wanted, others may be broken."""
    from recast.pipeline.planning.make_plan import make_plan
    from recast.pipeline.planning.partial_plan import make_sound_plan, warning

    if not wanted:
        return make_plan(root)
    plan = make_sound_plan(root, wanted)
    warn(warning(plan))
    return plan


def plan_of(options: argparse.Namespace) -> tuple[Path, Plan]:
    from recast.pipeline.planning.make_plan import make_plan

    root = enter_root()
    return root, make_plan(root, options.recipes or None)
