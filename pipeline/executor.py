"""Runs what `dvc repro` would run, independent stages side by side, and leaves what it leaves.

The calling thread does all of DVC's bookkeeping; each running stage has a thread that waits for its
process. The order of calls for one stage is DVC's: changed? remove outputs, restore from the cache or
run, hash and cache the outputs, note the result in dvc.lock.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from pipeline.budget import Budget, Machine, Need, remaining_path
from pipeline.dvc_repository import Repository, Step
from pipeline.errors import Exit, RecastError, StageFailed
from pipeline.events import Changed, Ended, Event, Message, Planned, Show, State
from pipeline.layout import GUARD
from pipeline.plan import reachable
from pipeline.up_to_date import Evidence


@dataclass(frozen=True)
class Options:
    """How to run: see `recast run --help`."""

    jobs: int
    force: bool = False
    keep_going: bool = True
    pull: bool = False
    retries: int = 0


@dataclass(frozen=True)
class Task:
    """How a step is shown and what it needs."""

    title: str
    need: Need = field(default_factory=Need)
    seconds: float | None = None
    """what it took when it last ran here"""


class Runner(Protocol):
    """Runs the commands of steps; `run` is called in threads of its own, several at once."""

    def task(self, step: Step) -> Task:
        """What the step is called and needs."""

    def settle(self, step: Step) -> bool:
        """Whether what the step will be run with is still what it was at the last call for it, or when the run began.

        Raises RecastError if the step cannot be run as it is now.
        """

    def records(self, step: Step) -> bool:
        """Whether what the step has just left may be recorded; asked once it has ended well."""

    def run(self, step: Step, gpus: Sequence[str], show: Show) -> float | None:
        """Run it to its end, saying that it runs; the seconds it took, or None if all of the time counts.

        Raises RecastError, with nothing half-written left, if it fails or is stopped.
        """

    def prepare(self, step: Step) -> None:
        """A core is free and the step may soon run: begin what it waits for first. Does not wait."""

    def ended(self, step: Step) -> None:
        """The step will not run again, or not at all."""

    def stop(self) -> None:
        """Stop every step that runs, within seconds; called from another thread."""


@dataclass
class Result:
    """How a run went."""

    states: dict[str, State]
    """by the title of the stage"""
    failed: dict[str, RecastError] = field(default_factory=dict)
    evidence: Evidence | None = None
    """what shows that everything is up to date now; None if it is not"""


@dataclass
class _Ended:
    name: str
    seconds: float
    """without what came before its process began, if the runner knows it"""
    error: Exception | None


class Interrupts:
    """Ctrl-C and SIGTERM as something the run looks at, so that they never cut a piece of bookkeeping in half.

    The first one stops the children at once; the second ends this process, and with it everything it started.
    """

    def __init__(self) -> None:
        self.asked = False
        self._handlers: dict[int, object] = {}
        self._then: list[Callable[[], None]] = []
        self._at_once = False

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def then(self, call: Callable[[], None]) -> None:
        """What to do at once when the first one comes; short, and from any thread."""
        self._then.append(call)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one came."""
        if self.asked:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that is interrupted in its middle, since it may take long and leaves nothing half-written."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def ask(self) -> None:
        """Stop as if a first Ctrl-C had come."""
        self.asked = True
        for call in self._then:
            call()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            # what this process started ends when it does: workers see their input close, the watchdog kills the rest
            with contextlib.suppress(OSError):
                os.write(2, b"\x1b[?25h\nrecast: killed; what had finished is kept\n")
            os._exit(Exit.INTERRUPTED)
        self.ask()
        if self._at_once:
            raise KeyboardInterrupt


class Executor:
    """One run over a repository."""

    def __init__(
        self,
        repository: Repository,
        runner: Runner,
        machine: Machine,
        options: Options,
        show: Show,
        interrupts: Interrupts,
    ) -> None:
        self.repository = repository
        self.interrupts = interrupts
        self.runner = runner
        self.machine = machine
        self.options = options
        self.show = show
        # `None` wakes the loop up for an interrupt; a SimpleQueue may be written to by a signal's handler
        self._messages: queue.SimpleQueue[_Ended | Event | None] = queue.SimpleQueue()
        interrupts.then(lambda: self._messages.put(None))
        interrupts.then(lambda: threading.Thread(target=runner.stop, daemon=True).start())

    def run(self, targets: Iterable[str], sources: Evidence | None = None) -> Result:
        """Bring the targets up to date. Raises KeyboardInterrupt after everything has been stopped and kept.

        `sources` is how things looked before dvc.yaml was made; the result's evidence builds on it.
        """
        started = time.monotonic()
        evidence, interrupted = None, False
        with self.repository.locked():
            self.repository.set_damaged_aside()
            while True:
                with self.interrupts.at_once():
                    steps = self.repository.steps(targets)
                    self._prepare(steps)
                    if self.options.pull:
                        self.repository.require_remote()
                    if sources:
                        before = sources.sources()
                        self.repository.add_evidence(before, steps)
                    if not self.options.force:
                        stale = self.repository.stale(steps)
                        self.current.update(name for name, is_stale in stale.items() if not is_stale)
                if self.repository.claim([step for step in steps if step.name not in self.current]):
                    break
        try:
            self.show(Planned(tuple(self.tasks[step.name].title for step in steps)))
            if self.options.pull:
                with self.repository.locked(), self.interrupts.at_once():
                    self.repository.pull(steps)
            self._go()
            if sources:
                evidence = self._evidence(before)
        except KeyboardInterrupt:
            interrupted = True
            self._stop()
            raise
        except BaseException:
            self._stop()
            raise
        finally:
            with self.repository.locked():
                self.repository.write_locks()
                self.repository.release()
            if interrupted:
                for name in list(self.left):
                    self._end(name, State.SKIPPED)
            self.show(Ended(time.monotonic() - started, interrupted))
        return Result(
            {self.tasks[name].title: state for name, state in self.states.items()},
            {self.tasks[name].title: error for name, error in self.failed.items()},
            evidence,
        )

    def _evidence(self, before: Evidence) -> Evidence | None:
        """What shows that everything is up to date.

        If stages ran everything is looked at once more: a file may have been edited meanwhile.
        """
        if self.failed or self.left:
            return None
        if all(state is State.UP_TO_DATE for state in self.states.values()):
            return before
        with self.repository.locked():
            self.repository.write_locks()
            with self.interrupts.at_once():
                after = before.sources()
                self.repository.add_evidence(after, list(self.steps.values()))
                changed = [name for name, step in self.steps.items() if self.repository.is_changed(step)]
        # the guard looks at every recipe, those that were not run included, and nobody has to run it
        if titles := ", ".join(self.tasks[name].title for name in changed if name != GUARD):
            self.show(Message(f"edited while the run went on, so to be run again: {titles}"))
        return None if changed else after

    def _prepare(self, steps: list[Step]) -> None:
        self.steps = {step.name: step for step in steps}
        self.tasks = {step.name: self.runner.task(step) for step in steps}
        impossible = [
            f"stage '{task.title}' {why}" for task in self.tasks.values() if (why := self.machine.lacks(task.need))
        ]
        if impossible:
            raise RecastError("; ".join(impossible), "lower its 'resources', or run it on a larger machine")
        self.readers: dict[str, list[str]] = {name: [] for name in self.steps}
        for step in steps:
            for read in step.reads:
                self.readers[read].append(step.name)
        self.followers: dict[str, list[str]] = {name: [] for name in self.steps}
        for step in steps:
            for before in step.after:
                self.followers[before].append(step.name)
        known = [task.seconds for task in self.tasks.values() if task.seconds is not None]
        typical = sorted(known)[len(known) // 2] if known else 1.0
        self.seconds = {name: typical if task.seconds is None else task.seconds for name, task in self.tasks.items()}
        self.urgency = remaining_path(self.seconds, self.readers, list(self.steps))
        self.left = {step.name: len(step.reads) + len(step.after) for step in steps}
        """steps that have not ended -> how many of those they wait for have not"""
        self.freed: list[str] = []
        """steps whose wait for a step that they do not depend on was the last"""
        self.current: set[str] = set()
        """steps that were up to date when the run began, as all that they read"""
        self.states: dict[str, State] = {}
        self.failed: dict[str, RecastError] = {}
        self.ready: list[str] = []
        self.running: dict[str, float] = {}
        self.tries: dict[str, int] = {}
        self.budget = Budget(self.machine, self.options.jobs)

    # -- the loop

    def _go(self) -> None:
        self._look_at([name for name, reads in self.left.items() if not reads])
        while True:
            self.interrupts.check()
            while self.freed:
                freed, self.freed = self.freed, []
                self._look_at([name for name in freed if name in self.left])
            if self.options.keep_going or not self.failed:
                self._start_what_fits()
            if self.freed:
                continue
            if not self.running:
                break
            if message := self._messages.get():
                self._take(message)
        for name in list(self.left):  # only after a failure that stops the run
            self._end(name, State.SKIPPED, because=next(iter(self.failed), ""))

    def _look_at(self, names: Sequence[str]) -> None:
        """Steps whose inputs are final: up to date, restored, or ready to run; and so on to those that read them."""
        waiting = list(names)
        with self.repository.locked():
            while waiting:
                self.interrupts.check()
                name = waiting.pop()
                step = self.steps[name]
                state = self._settle(step)
                if state is None:
                    self.ready.append(name)
                    self.ready.sort(key=lambda name: -self.urgency[name])
                elif state is not State.FAILED:
                    waiting += self._end(name, state)

    def _settle(self, step: Step) -> State | None:
        """The state of a step that need not run; None if it must."""
        if step.name in self.current:
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
        except RecastError as error:
            self._fail(step.name, error, 0.0)
            return State.FAILED
        return None

    def _is_changed(self, step: Step) -> bool:
        while True:
            try:
                return self.repository.is_changed(step)
            except RecastError:
                if self.runner.settle(step):
                    raise
                # an editor was just writing a recipe

    def _restore(self, step: Step) -> bool:
        try:
            with self.interrupts.at_once():
                return self.repository.restore(step, pull=self.options.pull)
        except KeyboardInterrupt:
            self.repository.clear(step)
            raise

    def _start_what_fits(self) -> None:
        blocked: float | None = None
        for name in list(self.ready):
            self.interrupts.check()
            need = self.tasks[name].need
            if self.budget.fits(need):
                # a shorter one may pass the most urgent while that waits, if it does not make it wait longer
                if blocked is None or self.seconds[name] <= blocked:
                    self.ready.remove(name)
                    self._start(name)
            elif blocked is None:
                now = time.monotonic()
                blocked = min((max(0.0, end - now) for end in self.running.values()), default=0.0)
        if self.running and self.budget.free_cores:
            for name in dict.fromkeys(reader for running in self.running for reader in self.readers[running]):
                if name in self.left:
                    self.runner.prepare(self.steps[name])

    def _start(self, name: str) -> None:
        step = self.steps[name]
        try:
            with self.repository.locked():
                self.repository.clear(step)
                with self.interrupts.at_once():
                    self._note(step)
        except RecastError as error:
            self._fail(name, error, 0.0)
            return
        need = self.tasks[name].need
        if need.cpu > self.machine.cores:
            few = f"this machine has {self.machine.cores}: it runs alone, and slower than with fewer"
            self.show(Message(f"stage '{self.tasks[name].title}' is set to {need.cpu} threads and {few}"))
        gpus = self.budget.take(name, need)
        self.running[name] = time.monotonic() + self.seconds[name]
        threading.Thread(target=self._run, args=(step, gpus), name=f"run {name}", daemon=True).start()

    def _note(self, step: Step) -> None:
        """Note what the step is about to read, as it is while nobody edits what it is run with."""
        self.runner.settle(step)
        while True:
            try:
                self.repository.save_deps(step)
            except RecastError:
                if self.runner.settle(step):
                    raise
                continue  # an editor was just writing it
            if self.runner.settle(step):
                return

    def _run(self, step: Step, gpus: Sequence[str]) -> None:
        """In the step's own thread."""
        started = time.monotonic()
        error: Exception | None = None
        took: float | None = None
        try:
            took = self.runner.run(step, gpus, self._messages.put)
        except Exception as raised:
            error = raised
        self._messages.put(_Ended(step.name, time.monotonic() - started if took is None else took, error))

    def _take(self, message: _Ended | Event) -> None:
        if not isinstance(message, _Ended):
            self.show(message)
            return
        name, step = message.name, self.steps[message.name]
        del self.running[name]
        self.budget.give_back(name)
        error = message.error
        try:
            with self.repository.locked():
                self._keep(step, error)
                self.repository.narrow(lambda: [self.steps[left] for left in self.left if left != name])
        except RecastError as raised:
            error = error or raised
        if error is not None and not isinstance(error, RecastError):
            raise error  # a bug, or the machine's: no stage's failure
        if error is None:
            self._look_at(self._end(name, State.DONE, seconds=message.seconds))
        elif self.tries.get(name, 0) < self.options.retries and isinstance(error, StageFailed):
            self.tries[name] = self.tries.get(name, 0) + 1
            again = f"trying again ({self.tries[name]} of {self.options.retries})"
            self.show(Message(f"{error.message}; {again}"))
            self.ready.insert(0, name)
        else:
            self._fail(name, error, message.seconds)

    def _keep(self, step: Step, error: Exception | None) -> None:
        if error is not None:
            self.repository.clear(step)  # what is half-written
        elif self.runner.records(step):
            self.repository.finish(step)

    # -- ends

    def _end(self, name: str, state: State, *, seconds: float | None = None, because: str = "") -> list[str]:
        """The step has come to its last state; the steps whose inputs are final now."""
        self._leave(name)
        self.runner.ended(self.steps[name])
        self.states[name] = state
        title = self.tasks[because].title if because else ""
        self.show(Changed(self.tasks[name].title, state, seconds=seconds, because=title))
        freed = []
        for reader in self.readers[name]:
            if reader in self.left:
                self.left[reader] -= 1
                if not self.left[reader] and state not in (State.FAILED, State.SKIPPED):
                    freed.append(reader)
        return freed

    def _leave(self, name: str) -> None:
        del self.left[name]
        for follower in self.followers[name]:
            if follower in self.left:
                self.left[follower] -= 1
                if not self.left[follower]:
                    self.freed.append(follower)

    def _fail(self, name: str, error: RecastError, seconds: float) -> None:
        """The step failed; nothing that reads it, directly or not, can run."""
        self._leave(name)
        self.runner.ended(self.steps[name])
        self.states[name] = State.FAILED
        self.failed[name] = error
        log = error.log if isinstance(error, StageFailed) else ""
        title = self.tasks[name].title
        said = error.message.removeprefix(f"stage '{title}' failed: ")
        if isinstance(error, StageFailed):
            said += "".join(f"\n| {line}" for line in error.tail)
        self.show(Changed(title, State.FAILED, seconds=seconds, log=log, error=said, remedy=error.remedy))
        lost = reachable([name], self.readers.__getitem__)
        for reader in [reader for reader in self.left if reader in lost]:
            self._end(reader, State.SKIPPED, because=name)

    def _stop(self) -> None:
        """Stop what runs; what ended well in that moment is kept."""
        self.runner.stop()
        while self.running:
            message = self._messages.get()
            if isinstance(message, _Ended):
                name = message.name
                del self.running[name]
                try:
                    with self.repository.locked():
                        self._keep(self.steps[name], message.error)
                except RecastError as error:
                    self._fail(name, error, message.seconds)
                else:
                    if message.error is None:
                        self._end(name, State.DONE, seconds=message.seconds)
