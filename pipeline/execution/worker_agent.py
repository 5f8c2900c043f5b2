"""What a worker does with a stage that it is given: fetches what it reads, runs it, leaves the result in the remote.

The worker has a checkout of its own at the driver's commit, and shares nothing with it but the DVC remote. It is told
names and hashes, and comes to the key of the stage by itself: if that is another, its checkout is.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recast.pipeline.core.errors import EnvironmentNotBuilt, Interrupted, Logged, told
from recast.pipeline.core.listed import listed
from recast.pipeline.dvc import dvcfile
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.checkout import describe
from recast.pipeline.execution.events import Changed, Event, Message, Progress, State
from recast.pipeline.execution.local_executor import HERE, LocalExecutor
from recast.pipeline.execution.scheduler import Budget, Machine, Need
from recast.pipeline.execution.stage_executor import Submission, Work
from recast.pipeline.planning.make_plan import make_plan
from recast.pipeline.planning.plan import PlannedStage
from recast.pipeline.processes import environments

Tell = Callable[[dict[str, Any]], None]
# the least time between two lines of progress that are sent on
_PROGRESS_SECONDS = 0.5
# less than this on the disk, and what failed may have failed for that
_ROOM_BYTES = 64 * 2**20


class Agent:
    """One checkout that runs stages for drivers elsewhere; `run` is called in threads, several at once."""

    def __init__(self, root: Path, machine: Machine, say: Callable[[str], None]) -> None:
        """Raises RecastError if the checkout cannot run stages as it is."""
        self.root = root
        self.machine = machine
        self.described = describe(root)
        self._plan = make_plan(root)
        dvcfile.pass_guard(root, self._plan)
        environments.device(root)
        self._planned = {stage.dvc_name: stage for stage in self._plan.stages.values()}
        self._books = threading.Lock()
        """DVC is not thread-safe"""
        self._repository = Repository(root, say)
        self._repository.keeps_lock = True
        self._repository.require_remote("--push")
        self._repository.set_damaged_aside()
        with self._repository.locked():
            self._steps = {step.name: step for step in self._repository.steps(["dvc.yaml"])}
        self._local = LocalExecutor(root, self._plan)
        self._budget = Budget(machine, max(machine.cores, 1))
        self._running: dict[str, str] = {}
        """stages -> the token by which they can be cancelled"""
        self._submitted: dict[str, Submission] = {}
        self._cancelled: set[str] = set()
        self._state = threading.Condition()

    def run(self, job: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        """Run the stage; how that went, as JSON values, with `seconds`, `failed`, `interrupted` or `unable`."""
        name, token = str(job["name"]), str(job["token"])
        stage, step = self._planned.get(name), self._steps.get(name)
        if stage is None or step is None:
            return {"unable": f"its checkout has no stage '{name}'"}
        with self._state:
            if name in self._running:
                return {"unable": f"it runs '{stage.id}' already, for another"}
            self._running[name] = token
            resources = stage.params["resources"]
            gpus = self._budget.take(token, Need(resources["cpu"], resources["memory"] or 0.0, resources["gpu"]))
        try:
            return self._run(job, stage, step, gpus, tell)
        except Interrupted:
            return {"interrupted": True}
        except EnvironmentNotBuilt as error:
            return {"unable": str(error)}
        except Logged as error:
            if self._is_full():
                return {"unable": f"its disk is full: {error.message}"}
            return {"failed": error.message, "remedy": error.remedy, "tail": list(error.tail), "ran": True}
        except Exception as error:  # whatever a remote or a disk may say; another worker may have another
            return {"unable": f"{'its disk is full: ' if self._is_full() else ''}{told(error)}"}
        finally:
            with self._state:
                self._running.pop(name, None)
                self._submitted.pop(token, None)
                self._cancelled.discard(token)
                self._budget.give_back(token)

    def _run(
        self, job: Mapping[str, Any], stage: PlannedStage, step: Step, gpus: tuple[str, ...], tell: Tell
    ) -> dict[str, Any]:
        with self._books, self._repository.locked():
            for read in step.reads:
                if entry := job["entries"].get(read):
                    self._repository.receive(self._steps[read], entry)
                elif not self._steps[read].commands:
                    self._repository.receive(self._steps[read], {})
            self._repository.clear(step)
            self._repository.save_deps(step)
            key, reads, _ = self._repository.facts(step, ())
            if key != job["key"]:
                return {"unable": f"'{stage.id}' is another there: {_differences(job['reads'], reads)}"}
            if self._repository.restore(step, pull=True):
                return {"seconds": 0.0}
        submission = self._local.submit(Work(stage, gpus=gpus, timeout=job["timeout"]), HERE, _Teller(tell))
        with self._state:
            self._local.keep_warm(stage)
            self._submitted[job["token"]] = submission
            if job["token"] in self._cancelled:
                raise Interrupted("cancelled")
        seconds = submission.wait()
        with self._books, self._repository.locked():
            if edited := self._repository.edited(step, submission.held):
                self._repository.clear(step)
                return {"unable": f"{edited} was edited there while it ran"}
            self._repository.publish(step)
        return {"seconds": seconds}

    def cancel(self, token: str) -> None:
        """Stop that stage, if it still runs."""
        with self._state:
            self._cancelled.add(token)
            submission = self._submitted.get(token)
        if submission:
            submission.cancel()

    def close(self) -> None:
        self._local.close()

    def _is_full(self) -> bool:
        try:
            return shutil.disk_usage(self.root).free < _ROOM_BYTES
        except OSError:
            return False


class _Teller:
    """Sends on what a stage says, as JSON values."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._sent = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            now = time.monotonic()
            # a bar that is drawn ten times a second is none of a scheduler's business
            if now - self._sent > _PROGRESS_SECONDS or event.done == event.total:
                self._sent = now
                self._tell({"progress": event.text, "done": event.done, "total": event.total})
        elif isinstance(event, Changed) and event.state is State.RUNNING:
            self._tell({"running": event.log})
        elif isinstance(event, Message):
            self._tell({"note": event.text})


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    found = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    return listed(found) or "its outputs"
