"""Runs what `dvc repro` would run, independent stages side by side, and leaves what it leaves.

The calling thread does all of DVC's bookkeeping; each running stage has a thread that waits for its
process. The order of calls for one stage is DVC's: changed? remove outputs, restore from the cache or
run, hash and cache the outputs, note the result in dvc.lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from recast.pipeline.core.errors import Logged, RecastError, RemoteFailed, StageFailed
from recast.pipeline.dvc.remembered import Evidence
from recast.pipeline.dvc.repository import Repository
from recast.pipeline.dvc.step import Step
from recast.pipeline.execution.events import Changed, Ended, Event, Message, Planned, State
from recast.pipeline.execution.head_start import HeadStart
from recast.pipeline.execution.progress import Progress
from recast.pipeline.execution.pulls import Pulls
from recast.pipeline.execution.pushes import Pushes
from recast.pipeline.execution.run_memory import Remembered, remember
from recast.pipeline.execution.scheduler import Budget
from recast.pipeline.execution.shared_work import SharedWork
from recast.pipeline.execution.stage_executor import ATTEMPTS, WorkerFailed
from recast.pipeline.execution.step_threads import RunEnded, StepThreads
from recast.pipeline.execution.task import Conditions, Runner


@dataclass
class Result:
    """How a run went."""

    states: dict[str, State]
    """by the title of the stage"""
    failed: dict[str, RecastError] = field(default_factory=dict)
    remembered: Remembered | None = None
    """what to know the next time; None if it was not asked for"""
    unpushed: tuple[str, ...] = ()
    """the titles of stages whose results were to be in the remote and are not"""


class Executor:
    """One run over a repository."""

    def __init__(
        self,
        repository: Repository,
        runner: Runner,
        conditions: Conditions,
        head_start: HeadStart | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`head_start`: what runs already; `budget`: what there is to run on, this machine if it is not said."""
        self.repository = repository
        self.interrupts = conditions.interrupts
        self.runner = runner
        self.machine = conditions.machine
        self.options = conditions.options
        self.show = conditions.show
        self.budget = budget or Budget(self.machine, self.options.jobs)
        self._failures: dict[str, list[str]] = {}
        """steps that workers could not do, though they may be done -> why"""
        self.progress = Progress((), {})
        self._pulls = Pulls(repository, self.options.pull, self.show)
        self._pushes = Pushes(repository, self.interrupts, self.show, lambda name: self.progress.title(name))
        self._shared: SharedWork | None = None
        self._head_start = head_start
        self._expected: set[str] = set()
        """steps that the runner knows will run"""
        self._void: dict[str, str] = {}
        """steps that run, or have just ended, and may have read what was edited since -> what that was"""
        self._edits: dict[str, int] = {}
        """steps -> how often that came to light when they had ended"""
        self._restored: list[str] = []
        """steps whose result came from the remote after they had been claimed"""
        self._threads = head_start.threads if head_start else StepThreads()
        self.interrupts.then(self._threads.wake)
        self.interrupts.then(lambda: threading.Thread(target=runner.stop, daemon=True).start())

    def run(self, targets: Iterable[str], sources: Evidence | None = None) -> Result:
        """Bring the targets up to date. Raises KeyboardInterrupt after everything has been stopped and kept.

        `sources` is how things looked before dvc.yaml was made; the result's evidence builds on it.
        """
        started = time.monotonic()
        remembered, interrupted = None, False
        with self.repository.locked():
            self.repository.set_damaged_aside()
            known, seen = self._head_start.take_over() if self._head_start else (frozenset[str](), Evidence())
            while True:
                with self.interrupts.at_once():
                    steps = self.repository.steps(targets)
                    self.progress = self._prepared(steps)
                    self._take_over()
                    if self.options.pull:
                        self.repository.require_remote()
                    if self.options.push:
                        self.repository.require_remote("--push")
                    before = (sources or Evidence()).sources().with_seen(seen)
                    if sources:
                        self.repository.looks.add_evidence(before, steps)
                    if not self.options.force:
                        self.progress.current |= self._current(steps, known)
                if self.repository.locks.claim([step for step in steps if step.name not in self.progress.current]):
                    break
        if self._head_start:
            self._head_start.is_taken_over = True
        try:
            titles = tuple(self.progress.title(step.name) for step in steps)
            if not (self._head_start and self._head_start.shown == titles):
                self.show(Planned(titles))
            if self.options.pull:
                with self.repository.locked(), self.interrupts.at_once():
                    self._pulls.fetch(steps)
            if self.options.share:
                self._shared = SharedWork(
                    self.repository, self.interrupts, self._threads.tell, self._threads.wake, self.options.lease
                )
            self._go()
            unpushed = self._pushes.send_rest()
            for name, reasons in self._failures.items():
                tried = f"{len(reasons)} worker{'s' if len(reasons) > 1 else ''} could not run it"
                self.show(Message(f"{self.progress.title(name)}: {tried}: {'; '.join(reasons)}"))
            if sources:
                remembered = remember(self.repository, self.progress, self.interrupts, self.show, before, seen, known)
        except KeyboardInterrupt:
            interrupted = True
            self._stop()
            raise
        except BaseException:
            self._stop()
            raise
        finally:
            if self._shared:
                self._shared.close()
            try:
                with self.repository.locked():
                    try:
                        self.repository.write_locks()
                    finally:
                        self.repository.locks.release()
            finally:
                if interrupted:
                    for name in list(self.progress.left):
                        self._end(name, State.SKIPPED)
                self.show(Ended(time.monotonic() - started, interrupted))
        return Result(
            {self.progress.title(name): state for name, state in self.progress.states.items()},
            {self.progress.title(name): error for name, error in self.progress.failed.items()},
            remembered,
            unpushed,
        )

    def _take_over(self) -> None:
        """Have what runs already counted, and note what it reads."""
        if not self._head_start:
            return
        for name, started in self._head_start.started.items():
            if self.progress.steps.get(name) != started.step:
                raise RecastError("dvc.yaml was edited just now", "run the command again")
            self.budget.take(name, started.task.need)
            self.progress.running[name] = started.since + self.progress.seconds[name]
            try:
                self.repository.save_deps(self.progress.steps[name])
                is_void = not self._head_start.is_as_it_was(name)
            except RecastError:
                is_void = True
            if is_void:
                self._void[name] = "what it reads was edited as it began"

    def _current(self, steps: Sequence[Step], known: Container[str]) -> set[str]:
        """The steps that are up to date, as all that they read; those that are known to be so are not looked at.

        Claims nothing: a step that another process runs just now is not among them.
        """
        stale = set(self.progress.running)
        for step in steps:
            if step.name in known or step.name in stale:
                continue
            if not stale.isdisjoint(step.reads) or self.repository.is_changed(step):
                stale.add(step.name)
        return {step.name for step in steps} - stale

    def _prepared(self, steps: list[Step]) -> Progress:
        tasks = {step.name: self.runner.task(step) for step in steps}
        impossible = [f"stage '{task.title}' {why}" for task in tasks.values() if (why := self.budget.lacks(task.need))]
        if impossible:
            raise RecastError("; ".join(impossible), "lower its 'resources', or run it on a larger machine")
        return Progress(steps, tasks)

    # -- the loop

    def _go(self) -> None:
        self._look_at([name for name, reads in self.progress.left.items() if not reads])
        while True:
            self.interrupts.check()
            while self._restored:
                self._look_at(self._end(self._restored.pop(), State.CACHED))
            while self.progress.freed:
                freed, self.progress.freed = self.progress.freed, []
                self._look_at([name for name in freed if name in self.progress.left])
            if self.options.keep_going or not self.progress.failed:
                self._expect()
                self._start_what_fits()
            if self.progress.freed or self._restored:
                continue
            if self._pushes.is_due and not self._threads.has_message:
                self._send()
                continue
            if self._shared and (freed := self._shared.freed()):
                self._look_at(freed)
                continue
            if not self.progress.running and not self._waits_for_others():
                if hopeless := self._hopeless():
                    for name, why in hopeless.items():
                        self.progress.ready.remove(name)
                        self._fail(name, RecastError(f"stage '{self.progress.title(name)}' {why}"), 0.0)
                    continue
                break
            if message := self._threads.get():
                self._take(message)
        for name in list(self.progress.left):  # only after a failure that stops the run
            self._end(name, State.SKIPPED, because=next(iter(self.progress.failed), ""))

    def _hopeless(self) -> dict[str, str]:
        """Steps that are ready and that nobody can run any more -> why."""
        found = {name: self.budget.hopeless(self.progress.tasks[name].need, name) for name in self.progress.ready}
        return {name: why for name, why in found.items() if why}

    def _send(self) -> None:
        for name in self._pushes.send():
            if self._shared:
                self._shared.give_back(name)

    def _waits_for_others(self) -> bool:
        is_stopping = self.progress.failed and not self.options.keep_going
        return bool(self._shared and self._shared.elsewhere) and not is_stopping

    def _look_at(self, names: Sequence[str]) -> None:
        """Steps whose inputs are final: up to date, restored, or ready to run; and so on to those that read them."""
        waiting = list(names)
        with self.repository.locked():
            while waiting:
                self.interrupts.check()
                name = waiting.pop()
                if name in self.progress.running:
                    continue  # it was started early
                step = self.progress.steps[name]
                state = self._without_running(step)
                if state is None:
                    self.progress.is_ready(name)
                elif state is not State.FAILED:
                    waiting += self._end(name, state)

    def _without_running(self, step: Step) -> State | None:
        """The state of a step that need not run; None if it must."""
        if step.name in self.progress.current:
            return State.UP_TO_DATE
        try:
            if not step.commands:
                done = self.repository.reproduce(step, force=self.options.force)
                return State.DONE if done else State.UP_TO_DATE
            if self.options.force:
                return None
            with self.interrupts.at_once():
                changed = self._is_changed(step)
            if not changed:
                return State.UP_TO_DATE
            self.repository.clear(step)
            if self._restore(step):
                self.repository.finish(step)
                return State.CACHED
        except RemoteFailed:
            raise  # no step's fault, and every other would meet it as well
        except RecastError as error:
            self._fail(step.name, error, 0.0)
            return State.FAILED
        return None

    def _is_changed(self, step: Step) -> bool:
        while True:
            try:
                return self.repository.is_changed(step)
            except RecastError:
                if self.runner.is_as_before(step):
                    raise
                # an editor was just writing a recipe

    def _restore(self, step: Step) -> bool:
        try:
            with self.interrupts.at_once():
                return self._pulls.restore(step)
        except KeyboardInterrupt:
            self.repository.clear(step)
            raise

    def _expect(self) -> None:
        """Tell the runner what will run: what is ready, and what comes after that and has no result to restore."""
        expected: list[Step] = []
        waiting = [*self.progress.running, *self.progress.ready]
        for name in waiting:
            if name in self._expected:
                continue
            self._expected.add(name)
            expected.append(self.progress.steps[name])
            for reader in self.progress.readers[name]:
                step = self.progress.steps[reader]
                if reader in self.progress.left and (self.options.force or not self.repository.has_result(step)):
                    waiting.append(reader)
        if expected:
            expected.sort(key=lambda step: self.progress.depth[step.name])
            self.runner.expect(expected, self._threads.tell)

    def _start_what_fits(self) -> None:
        blocked: float | None = None
        for name in list(self.progress.ready):
            self.interrupts.check()
            need = self.progress.tasks[name].need
            if self.budget.fits(need, name):
                # a shorter one may pass the most urgent while that waits, if it does not make it wait longer
                if blocked is None or self.progress.seconds[name] <= blocked:
                    self.progress.ready.remove(name)
                    self._start(name)
            elif blocked is None:
                now = time.monotonic()
                blocked = min((max(0.0, end - now) for end in self.progress.running.values()), default=0.0)
        if self.progress.running and self.budget.free_cores:
            for name in dict.fromkeys(
                reader for running in self.progress.running for reader in self.progress.readers[running]
            ):
                if name in self.progress.left:
                    self.runner.prepare(self.progress.steps[name])

    def _start(self, name: str) -> None:
        step = self.progress.steps[name]
        if self.runner.is_elsewhere(step) and self._pushes.is_due:
            self._send()  # what it reads
        try:
            with self.repository.locked():
                self.repository.clear(step)
                with self.interrupts.at_once():
                    self._note(step)
                if self._shared and not self._may_run(step):
                    return
                if self.runner.is_elsewhere(step):
                    upstream = [self.progress.steps[read] for read in step.reads]
                    self.runner.hand_over(step, *self.repository.facts(step, upstream))
        except RecastError as error:
            self._fail(name, error, 0.0)
            return
        need = self.progress.tasks[name].need
        if need.cpu > self.machine.cores and not need.elsewhere:
            few = f"this machine has {self.machine.cores}: it runs alone, and slower than with fewer"
            self.show(Message(f"stage '{self.progress.title(name)}' is set to {need.cpu} threads and {few}"))
        gpus = self.budget.take(name, need)
        self.progress.running[name] = time.monotonic() + self.progress.seconds[name]
        self._threads.start(step, gpus, self.runner)

    def _may_run(self, step: Step) -> bool:
        """Whether no other run has the step, and none has left its result since it was looked for."""
        assert self._shared
        if not self._shared.claim(step, self.progress.title(step.name)):
            return False
        if not self._restore(step):
            return True
        self.repository.finish(step)
        self._restored.append(step.name)
        return False

    def _note(self, step: Step) -> None:
        """Note what the step is about to read, as it is while nobody edits what it is run with."""
        self.runner.is_as_before(step)
        while True:
            try:
                self.repository.save_deps(step)
            except RecastError:
                if self.runner.is_as_before(step):
                    raise
                continue  # an editor was just writing it
            if self.runner.is_as_before(step):
                return

    def _take(self, message: RunEnded | Event) -> None:
        if not isinstance(message, RunEnded):
            self.show(message)
            return
        name, step = message.name, self.progress.steps[message.name]
        del self.progress.running[name]
        self.budget.give_back(name)
        error = message.error
        try:
            with self.repository.locked():
                self._keep(step, error)
                self.repository.locks.narrow(
                    lambda: [self.progress.steps[left] for left in self.progress.left if left != name]
                )
        except RecastError as raised:
            error = error or raised
        if error is not None and not isinstance(error, RecastError):
            raise error  # a bug, or the machine's: no stage's failure
        if why := self._void.pop(name, ""):
            if self._shared:
                self._shared.give_back(name)  # what was claimed is the work on what there was before
            if self._edits.get(name, 0) < ATTEMPTS:
                self.show(Message(f"{self.progress.title(name)} is run again: {why}"))
                self.progress.ready.insert(0, name)
            else:
                said = f"stage '{self.progress.title(name)}' failed: {why}, each of the {ATTEMPTS} times that it ran"
                self._fail(name, RecastError(said, "run it again when nothing writes to that"), message.seconds)
        elif error is None:
            self._look_at(self._end(name, State.DONE, seconds=message.seconds))
        elif isinstance(error, WorkerFailed) and len(self._failures.get(name, ())) < ATTEMPTS - 1:
            self._failures.setdefault(name, []).append(error.message)
            self.budget.avoid(name, error.worker)
            self.show(Message(f"{self.progress.title(name)} is tried elsewhere: {error.message}"))
            self.progress.ready.insert(0, name)
        elif self.progress.tries.get(name, 0) < self.options.retries and isinstance(error, StageFailed):
            self.progress.tries[name] = self.progress.tries.get(name, 0) + 1
            again = f"trying again ({self.progress.tries[name]} of {self.options.retries})"
            self.show(Message(f"{error.message}; {again}"))
            self.progress.ready.insert(0, name)
        else:
            self._fail(name, error, message.seconds)

    def _keep(self, step: Step, error: Exception | None) -> None:
        if error is None and step.name not in self._void:
            self._avoid_edited(step)
        if error is not None or step.name in self._void:
            self.repository.clear(step)  # what is half-written, or made from nobody knows what
        elif self.runner.is_elsewhere(step):
            if not self.repository.restore(step, pull=True):
                title = self.progress.title(step.name)
                raise RecastError(
                    f"a worker has run '{title}', and the remote does not have its result", "run it again"
                )
            self.repository.finish(step)
        elif self.runner.records(step):
            self.repository.finish(step)

    def _avoid_edited(self, step: Step) -> None:
        held = None if self.runner.is_elsewhere(step) else self.runner.held(step)
        if held is not None and (edited := self.repository.edited(step, held)):
            self._edits[step.name] = self._edits.get(step.name, 0) + 1
            self._void[step.name] = f"{edited} was edited while it ran"

    # -- ends

    def _end(self, name: str, state: State, *, seconds: float | None = None, because: str = "") -> list[str]:
        """The step has come to its last state; the steps whose inputs are final now."""
        freed = self.progress.end(name, state)
        self.runner.ended(self.progress.steps[name])
        if self._shared:
            self._shared.elsewhere.pop(name, None)
        if self.options.push and state in (State.DONE, State.CACHED, State.UP_TO_DATE):
            self._pushes.add(self.progress.steps[name])
        title = self.progress.title(because) if because else ""
        self.show(Changed(self.progress.title(name), state, seconds=seconds, because=title))
        return freed

    def _fail(self, name: str, error: RecastError, seconds: float) -> None:
        """The step failed; nothing that reads it, directly or not, can run."""
        if self._shared:
            self._shared.give_back(name)
        lost = self.progress.fail(name, error)
        self.runner.ended(self.progress.steps[name])
        log = error.log if isinstance(error, Logged) else ""
        title = self.progress.title(name)
        said = error.message.removeprefix(f"stage '{title}' failed: ")
        if isinstance(error, Logged):
            said += "".join(f"\n| {line}" for line in error.tail)
        self.show(Changed(title, State.FAILED, seconds=seconds, log=log, error=said, remedy=error.remedy))
        for reader in lost:
            self._end(reader, State.SKIPPED, because=name)

    def _stop(self) -> None:
        """Stop what runs; what ended well in that moment is kept."""
        self.runner.stop()
        while self.progress.running:
            message = self._threads.get()
            if isinstance(message, RunEnded):
                name = message.name
                del self.progress.running[name]
                try:
                    with self.repository.locked():
                        self._keep(self.progress.steps[name], message.error)
                except RecastError as error:
                    self._fail(name, error, message.seconds)
                else:
                    if message.error is None and name not in self._void:
                        self._end(name, State.DONE, seconds=message.seconds)
