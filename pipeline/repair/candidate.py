"""A candidate of a repair: the recipe with other values, run in the copy by `recast run`, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recast.pipeline.core.address import Address
from recast.pipeline.core.errors import Exit, RecastError
from recast.pipeline.core.layout import RECIPES, launcher
from recast.pipeline.execution.results import metrics_of, shipped_size
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes.stage_call import read_timings
from recast.pipeline.recipes.edited import with_values
from recast.stages.repair import Values, merged

_GRACE = 30.0
"""seconds that a run has to stop in order before it is killed"""


@dataclass(frozen=True)
class Run:
    """A candidate that was run: what `verify` measured, or why there is nothing to measure."""

    says: tuple[str, ...]
    """what is otherwise than in the recipe"""
    values: Values
    refused: str = ""
    """what the stage said that failed; empty for a candidate that was verified"""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """of the stage that verifies"""
    by_stage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """of every stage of the target, by the name that the target calls it"""
    size: int | None = None
    """bytes of what is shipped"""
    latency: float | None = None
    """seconds a sample takes on this machine; None where the result came from the cache"""
    was_cached: bool = False
    """whether no stage had to run"""
    seconds: float = 0.0


class Stopped(Exception):
    """The run was stopped, by its user or because its time is over."""


@dataclass(frozen=True)
class Workplace:
    """The copy of the project, and the recipe in it that is tried with other values."""

    root: Path
    target: Address
    text: str
    """of the recipe, as it stands"""
    stopped: Callable[[], bool]
    """whether to stop now"""
    live: Callable[[str], None]
    """told what is being done"""

    @property
    def recipe(self) -> Path:
        """The recipe's file."""
        return self.root / RECIPES / f"{self.target.recipe}.yaml"

    def plan(self) -> Plan:
        """Of the recipe as it is in the copy now."""
        return make_plan(self.root, [self.target.recipe])

    def run(self, says: tuple[str, ...], values: Values, relaxed: Values) -> Run:
        """Run the target with these values, and with `relaxed`, which are no part of what is tried.

        Raises Stopped, and RecastError if the run ends otherwise than by a stage that fails or succeeds.
        """
        began = time.monotonic()
        together = merged(values, relaxed)
        edited = with_values(self.text, str(self.target.target), together) if together else self.text
        self.recipe.write_text(edited, encoding="utf-8")
        failed, ran = self._run()
        seconds = time.monotonic() - began
        if failed:
            return Run(says, values, refused=failed, seconds=seconds)
        plan = self.plan()
        stages = self._stages(plan)
        verified = next((one for one in stages.values() if one.stage.reports), None)
        if verified is None:
            raise RecastError(f"{self.target} verifies nothing", "add a stage that does to its set")
        by_stage = {name: metrics_of(self.root, one) for name, one in stages.items()}
        return Run(
            says,
            values,
            metrics=by_stage[verified.name],
            by_stage=by_stage,
            size=shipped_size(self.root, plan, plan.recipes[self.target.recipe].targets[str(self.target.target)]),
            latency=read_timings(self.root, verified).get("latency_per_sample") if verified.id in ran else None,
            was_cached=not ran,
            seconds=seconds,
        )

    def _stages(self, plan: Plan) -> dict[str, PlannedStage]:
        found = plan.recipes[self.target.recipe].targets[str(self.target.target)]
        return {name: plan.stages[id] for name, id in found.items()}

    def _run(self) -> tuple[str, set[str]]:
        """`recast run` in the copy: what the stage said that failed, empty if none did; and which stages ran."""
        program = (
            [str(self.root / "recast")] if launcher(self.root) == "./recast" else [sys.executable, "-P", "-m", "recast"]
        )
        command = [*program, "run", self.target.recipe, "--target", str(self.target.target), "--fail-fast", "--json"]
        errors: list[str] = []
        ran: set[str] = set()
        with subprocess.Popen(
            command,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the search, which then stops the run in order
        ) as process:
            try:
                self._follow(process, errors, ran)
            finally:
                _end(process)
            code = process.returncode
            said = process.stderr.read().strip() if process.stderr else ""
        if code == Exit.DONE:
            return "", ran
        if code == Exit.STAGE_FAILED and errors:
            return errors[0], ran
        if self.stopped():
            raise Stopped
        raise RecastError(
            f"a run of {self.target} ended with {code}: {said.rpartition(chr(10))[2] or 'without a word'}",
            "run the target itself first",
        )

    def _follow(self, process: subprocess.Popen[str], errors: list[str], ran: set[str]) -> None:
        """Read the run's events until it ends. Raises Stopped."""
        import selectors

        stream = process.stdout
        assert stream is not None
        os.set_blocking(stream.fileno(), False)
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                if self.stopped():
                    raise Stopped
                if not selector.select(timeout=0.2):
                    continue
                piece = os.read(stream.fileno(), 1 << 16)
                if not piece:
                    return
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._note(json.loads(line), errors, ran)

    def _note(self, event: Mapping[str, Any], errors: list[str], ran: set[str]) -> None:
        stage, state = event.get("stage", ""), event.get("state")
        if state == "running":
            ran.add(stage)
            self.live(stage)
        elif state == "failed":
            errors.append(event.get("error", "failed"))
        elif event["event"] == "progress":
            self.live(f"{stage}: {event['text']}")


def _end(process: subprocess.Popen[str]) -> None:
    """Have the run stop in order, or kill it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
