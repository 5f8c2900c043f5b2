"""The executor of `--on tcp://HOST:PORT`: workers that were started with `recast worker`, by a scheduler of Dask's.

Dask knows who is there and carries calls and events. Which stage goes where, how often it is tried, and everything that
is recorded stays with the driver. What is given to Dask is a function of this package, by name, and JSON values.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

from recast.pipeline.core.errors import Interrupted, RecastError, StageFailed, told
from recast.pipeline.execution import dask_worker
from recast.pipeline.execution.checkout import describe, differs, refuse_dirty
from recast.pipeline.execution.events import Changed, Message, Progress, Show, State
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.stage_executor import Site, Work, WorkerFailed
from recast.pipeline.processes.stage_logs import new_log

SILENT_SECONDS = 60.0
"""after so long without a sign of life a worker is taken for hung; they give one several times a second"""
_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 20


def connected(site: Site) -> DaskExecutor:
    """The executor at an address. Raises RecastError if no scheduler answers there."""
    return DaskExecutor(site)


class DaskExecutor:
    """Workers of one scheduler that have this checkout; they may come and go."""

    def __init__(self, site: Site, silent: float = SILENT_SECONDS) -> None:
        distributed = dask_worker.need_distributed()
        self._site = site
        self._ours = describe(site.root)
        refuse_dirty(self._ours)
        self._silent = silent
        try:
            self._client = distributed.Client(
                site.address, timeout=_CONNECT_SECONDS, set_as_default=False, name="recast-run"
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise RecastError(
                f"no scheduler answers at {site.address}: {told(error)}",
                "start one with 'dask scheduler', or see the address",
            ) from error
        self._topic = f"recast-{uuid.uuid4().hex}"
        self._lock = threading.Lock()
        self._workers: dict[str, Machine] = {}
        self._addresses: dict[str, str] = {}
        """workers -> where they are"""
        self._refused: dict[str, str] = {}
        self._seen: dict[str, tuple[float | None, float]] = {}
        """addresses -> the scheduler's time of their last sign of life, and since when, by our clock, it is that"""
        self._submissions: dict[str, DaskSubmission] = {}
        self._ended = threading.Event()
        self._client.subscribe_topic(self._topic, self._take)
        self._look()
        self._watcher = threading.Thread(target=self._watch, name="workers", daemon=True)
        self._watcher.start()

    # -- who is there

    def workers(self) -> Mapping[str, Machine]:
        with self._lock:
            return dict(self._workers)

    def refused(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._refused)

    def await_workers(self, count: int, seconds: float, is_lost: Any = lambda: False) -> None:
        """Wait until so many are there. Raises RecastError if they do not come."""
        until = time.monotonic() + seconds
        while len(self.workers()) < count:
            if time.monotonic() > until or is_lost() or len(self.refused()) >= count:
                why = "".join(f"; {name}: {reason}" for name, reason in self.refused().items())
                raise RecastError(f"{len(self.workers())} of {count} workers came{why}", "see what they say")
            time.sleep(0.1)
            self._look()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            with contextlib.suppress(Exception):  # of a scheduler that is lost, everybody hears by `_lose`
                self._look()
            if self._client.status not in ("running", "connecting"):
                self._lose(set(), "the scheduler is gone")

    def _look(self) -> None:
        # not by `scheduler_info`, whose answer the client's own questions overwrite, which ask for no workers
        identity: dict[str, Any] = self._client.sync(self._client.scheduler.identity, n_workers=-1)
        found = identity["workers"]
        told = {address: (str(one["name"]), one["last_seen"]) for address, one in found.items()}
        now = time.monotonic()
        alive = set()
        for address, (_, seen) in told.items():
            last, since = self._seen.get(address, (None, now))
            if last != seen:
                last, since = seen, now
            self._seen[address] = last, since
            if now - since < self._silent:
                alive.add(address)
        with self._lock:
            known = {*self._addresses.values()}
        fresh = [address for address in alive if address not in known]
        if fresh:
            self._greet(fresh, {address: name for address, (name, _) in told.items()})
        self._lose(alive, "")
        if fresh:
            self._site.changed()

    def _greet(self, fresh: list[str], names: Mapping[str, str]) -> None:
        answers: dict[str, Any] = self._client.run(dask_worker.introduce, workers=fresh, on_error="return")
        for address in fresh:
            answer, name = answers.get(address), names[address]
            said: dict[str, Any] = answer if isinstance(answer, dict) else {}
            why = differs(self._ours, said["checkout"]) if said else f"it is no 'recast worker' ({answer})"
            with self._lock:
                self._addresses[name] = address
                if why:
                    self._refused[name] = why
                else:
                    has = said["machine"]
                    labels = tuple(sorted(has["labels"].items()))
                    self._workers[name] = Machine(has["cores"], has["memory"], tuple(has["gpus"]), labels)
                    self._refused.pop(name, None)
            if why:
                self._site.say(f"worker {name} is not used: {why}")

    def _lose(self, alive: set[str], why: str) -> None:
        with self._lock:
            gone = [name for name, address in self._addresses.items() if address not in alive]
            for name in gone:
                del self._addresses[name]
                self._workers.pop(name, None)
                self._refused.pop(name, None)
            lost = [one for one in self._submissions.values() if one.worker in gone]
        for one in lost:
            one.lose(why or "it died, hangs, or cannot be reached")

    # -- stages

    def submit(self, work: Work, worker: str, show: Show) -> DaskSubmission:
        token = uuid.uuid4().hex
        job = {
            "name": work.stage.dvc_name,
            "token": token,
            "topic": self._topic,
            "key": work.key,
            "reads": dict(work.reads),
            "entries": {name: dict(entry) for name, entry in work.entries.items()},
            "timeout": work.timeout,
        }
        submission = DaskSubmission(self, work, worker, token, show)
        with self._lock:
            address = self._addresses.get(worker)
            self._submissions[token] = submission
        if address is None:
            submission.lose("it is gone")
            return submission
        need = dask_worker.resources_of(work.stage, self.workers().get(worker))
        try:
            # JSON, so that nothing but a function's name is pickled
            future = self._client.submit(
                dask_worker.run_stage,
                json.dumps(job),
                key=f"recast-{work.stage.dvc_name}-{token}",
                workers=[address],
                resources=need,
                retries=0,
                pure=False,
            )
        except Exception as error:
            submission.lose(f"nothing can be sent to it: {told(error)}")
            return submission
        submission.sent(future)
        return submission

    def cancel(self, submission: DaskSubmission) -> None:
        with self._lock:
            address = self._addresses.get(submission.worker)
        if address:
            with contextlib.suppress(Exception):  # of a worker that is gone
                self._client.run(dask_worker.cancel, submission.token, workers=[address], on_error="ignore", wait=False)

    def forget(self, submission: DaskSubmission) -> None:
        with self._lock:
            self._submissions.pop(submission.token, None)

    def _take(self, event: tuple[float, Any]) -> None:
        """What a worker says of a stage."""
        said = event[1]
        with self._lock:
            submission = self._submissions.get(said.get("token", ""))
        if submission:
            submission.take(said)

    def close(self) -> None:
        self._ended.set()
        with self._lock:
            left = list(self._submissions.values())
        for one in left:
            one.cancel()
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)


class DaskSubmission:
    """A stage that a worker was given."""

    def __init__(self, executor: DaskExecutor, work: Work, worker: str, token: str, show: Show) -> None:
        self.worker = worker
        self.token = token
        self._executor = executor
        self._stage = work.stage
        self._show = show
        self._root = executor._site.root
        self._future: Any = None
        self._ended = threading.Event()
        self._lost = ""
        self._is_cancelled = False
        self._log: Any = None
        self._shown = ""

    def sent(self, future: Any) -> None:
        self._future = future
        future.add_done_callback(lambda _: self._ended.set())

    def lose(self, why: str) -> None:
        """The worker is gone, and the stage with it."""
        self._lost = why
        self._ended.set()

    def cancel(self) -> None:
        self._is_cancelled = True
        self._executor.cancel(self)
        self._ended.set()

    def take(self, said: Mapping[str, Any]) -> None:
        """Show what the worker says."""
        if "running" in said:
            if not self._shown:
                log = new_log(self._root, self._stage.dvc_name)
                self._shown = log.relative_to(self._root).as_posix()
                self._log = log.open("w", encoding="utf-8")
            self._show(Changed(self._stage.id, State.RUNNING, log=self._shown))
            self._show(Progress(self._stage.id, f"on {self.worker}"))
        elif "progress" in said:
            self._show(Progress(self._stage.id, said["progress"], said["done"], said["total"]))
        elif "note" in said:
            self._show(Message(said["note"]))
        elif "log" in said and self._log and not self._log.closed:
            self._log.write(said["log"])
            self._log.flush()

    def wait(self) -> float:
        self._ended.wait()
        try:
            if self._is_cancelled:
                raise Interrupted(f"stage '{self._stage.id}' was stopped with the run")
            if self._lost:
                raise WorkerFailed(self.worker, self._lost)
            return self._outcome()
        finally:
            self._executor.forget(self)
            if self._future is not None:
                with contextlib.suppress(Exception):
                    self._future.cancel()
            if self._log:
                self._log.close()

    def _outcome(self) -> float:
        try:
            found: dict[str, Any] = self._future.result(timeout=10)
        except Exception as error:  # Dask's own, of a worker that was lost on the way
            raise WorkerFailed(self.worker, f"{type(error).__name__}: {error}") from error
        if "unable" in found:
            raise WorkerFailed(self.worker, found["unable"])
        if "interrupted" in found:
            raise WorkerFailed(self.worker, "it was stopped")
        if "failed" in found:
            raise StageFailed(
                f"{found['failed']} (on {self.worker})", found["remedy"], self._shown, tuple(found["tail"])
            )
        return float(found["seconds"])
