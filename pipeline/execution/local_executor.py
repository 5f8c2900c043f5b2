"""The executor of this machine: a stage's environment is built if need be, and its process is a warm or a cold one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from recast.pipeline.core.errors import Interrupted
from recast.pipeline.execution.environment_builder import EnvironmentBuilder
from recast.pipeline.execution.events import Changed, Message, Progress, Show, State
from recast.pipeline.execution.scheduler import Machine, this_machine
from recast.pipeline.execution.stage_executor import Work
from recast.pipeline.planning.plan import Plan, PlannedStage
from recast.pipeline.processes import environments
from recast.pipeline.processes.environment import Environment
from recast.pipeline.processes.stage_call import StageProcess
from recast.pipeline.processes.worker_pool import WorkerProcess, Workers

HERE = "here"


class LocalExecutor:
    """Runs stages on this machine, by `Workers`. A stage runs in the thread that waits for it."""

    def __init__(self, root: Path, plan: Plan, *, warm: bool = True) -> None:
        self.root = root
        self.plan = plan
        self.pool = Workers(root, warm=warm)
        self.builder = EnvironmentBuilder(root)
        self.is_stopped = False
        self._left: dict[str, tuple[str, int]] = {}
        """stages that have not ended -> what they would share a warm process by"""
        self._warm: set[tuple[str, int]] = set()

    def submit(self, work: Work, worker: str, show: Show) -> LocalSubmission:
        return LocalSubmission(self, work, show)

    def workers(self) -> Mapping[str, Machine]:
        return {HERE: this_machine()}

    def refused(self) -> Mapping[str, str]:
        return {}

    def will_run(self, stage: PlannedStage) -> None:
        """It may be run: it counts for whether a warm process is worth its start."""
        self._left[stage.dvc_name] = sharing(stage)

    def ended(self, name: str) -> None:
        """One stage fewer for which a warm process would be worth its start."""
        left = self._left.pop(name, None)
        if left and not any(environment == left[0] for environment, _ in self._left.values()):
            self.builder.drop(left[0])

    def expect(self, stages: Sequence[PlannedStage], show: Show) -> None:
        """Begin to build their environments."""
        self.builder.expect(dict.fromkeys(stage.environment for stage in stages), show)

    def prepare(self, stage: PlannedStage) -> None:
        """Begin to import the packages of its environment, if that is built and several stages will use them."""
        if self.is_warm(stage) and not stage.params["resources"]["gpu"]:
            environment = environments.find(self.root, stage.environment)
            if environment.is_built:
                self.pool.prepare(environment, stage.params["resources"]["cpu"])
                self._warm.add(sharing(stage))

    def is_warm(self, stage: PlannedStage) -> bool:
        # for one stage alone a process started from nothing is quicker: it imports only what that stage needs
        if stage.isolated or stage.params["resources"]["isolated"]:
            return False
        shared = sharing(stage)
        return shared in self._warm or sum(other == shared for other in self._left.values()) > 1

    def keep_warm(self, stage: PlannedStage) -> None:
        """A process with its packages is worth its start, since others will come."""
        self._warm.add(sharing(stage))

    def close(self) -> None:
        self.is_stopped = True
        self.builder.stop()
        self.pool.close()


class LocalSubmission:
    """A stage that the thread which waits for it runs."""

    def __init__(self, executor: LocalExecutor, work: Work, show: Show) -> None:
        self._executor = executor
        self._work = work
        self._show = show
        self._lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._is_cancelled = False
        self.held: Mapping[str, int] = {}
        """once it has ended: code that it had imported before it was edited -> when that was last modified then"""

    def wait(self) -> float:
        executor, stage, show = self._executor, self._work.stage, self._show

        def live(text: str, done: int | None = None, total: int | None = None) -> None:
            show(Progress(stage.id, text, done, total))

        environment = self._environment()
        if warm := executor.is_warm(stage):
            executor.keep_warm(stage)
        process = StageProcess(
            executor.root,
            executor.plan,
            stage,
            environment,
            live,
            lambda path: show(Changed(stage.id, State.RUNNING, log=path)),
            self._work.timeout,
            lambda text: show(Message(f"{stage.id}: {text}")),
        )
        outcome = process.run(self, gpus=self._work.gpus, isolated=not warm)
        self.held = outcome.held
        return outcome.seconds

    def cancel(self) -> None:
        with self._lock:
            self._is_cancelled = True
            process = self._process
        if process:
            process.interrupted = True
            process.stop()

    def _environment(self) -> Environment:
        stage, show = self._work.stage, self._show
        environment = environments.find(self._executor.root, stage.environment)
        if not environment.is_built:
            show(Changed(stage.id, State.RUNNING, log=environments.log_of(environment)))
            show(Progress(stage.id, f"waiting for the environment '{environment.name}'"))
        return self._executor.builder.get(stage.environment, show, self._refuse_stopped)

    def _refuse_stopped(self) -> None:
        if self._executor.is_stopped or self._is_cancelled:
            raise Interrupted(f"the run was stopped before stage '{self._work.stage.id}' began")

    # -- where `StageProcess` has its process from

    def start(
        self, environment: Environment, threads: int, gpus: Sequence[str] = (), *, isolated: bool = False
    ) -> WorkerProcess:
        process = self._executor.pool.start(environment, threads, gpus, isolated=isolated)
        with self._lock:
            self._process = process
            cancelled = self._is_cancelled
        if cancelled:
            self._executor.pool.release(process)
            self._refuse_stopped()
        return process

    def release(self, process: WorkerProcess) -> None:
        self._executor.pool.release(process)
        with self._lock:
            self._process = None


def sharing(stage: PlannedStage) -> tuple[str, int]:
    """What stages share a warm process by."""
    return stage.environment, stage.params["resources"]["cpu"]
