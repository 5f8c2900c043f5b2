"""`recast run` from the request to the first stage: what can run before DVC, pydantic and the rest are imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recast.pipeline.dvc import remembered
from recast.pipeline.dvc.remembered import Recalled
from recast.pipeline.execution.events import Message, Show
from recast.pipeline.execution.head_start import HeadStart
from recast.pipeline.execution.interrupts import Interrupts
from recast.pipeline.execution.run_lock import only_run
from recast.pipeline.execution.scheduler import this_machine
from recast.pipeline.execution.task import Conditions, Options

if TYPE_CHECKING:
    from recast.pipeline.execution.planned_run import Outcome


def run(
    root: Path,
    request: Mapping[str, tuple[str, ...]],
    recalled: Recalled | None,
    options: Options,
    show: Show,
    interrupts: Interrupts,
    warn: Callable[[str], None],
) -> Outcome:
    """Bring what is asked for up to date. Raises RecastError for what no stage is to blame for.

    `recalled` is what is remembered of the request's last run. `warn` is told of broken recipes that were not asked
    for, if some were; otherwise every recipe must be sound.
    """
    with only_run(root, lambda text: show(Message(text)), interrupts.check, lambda: _look(root, request)) as waited:
        with interrupts.at_once():
            known = remembered.recall(root, request) if waited else recalled
            conditions = Conditions(root, options, this_machine(), show, interrupts)
        with HeadStart(conditions, known) as head_start:
            head_start.begin_shells()
            with interrupts.at_once():
                from recast.pipeline.execution import planned_run
                from recast.pipeline.execution.request import Request
            return planned_run.run(Request(**request), conditions, head_start, warn)


def _look(root: Path, request: Mapping[str, tuple[str, ...]]) -> None:
    from recast.pipeline.execution import planned_run
    from recast.pipeline.execution.request import Request

    planned_run.refuse_unknown(root, Request(**request))
