"""Builds the environments of a run ahead of the stages that need them, beside those that run.

One at a time, in the order in which they will be needed. A stage whose turn comes does not wait for that: what it needs
is built by its own thread if nobody builds it yet.

An environment is used as soon as its packages are in place. Its bytecode, most of the work, is compiled when nothing is
left to be built, beside the stages; what the end of the run cuts short, the next that uses it takes up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from recast.pipeline.core.errors import Interrupted
from recast.pipeline.execution.events import Building, Show
from recast.pipeline.processes import environments
from recast.pipeline.processes.environment import Environment

_POLL_SECONDS = 0.1


class _Unneeded(Exception):
    """No stage of the run needs it any more."""


@dataclass
class _Build:
    name: str
    is_begun: bool = False
    is_needed: bool = True
    over: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


class EnvironmentBuilder:
    """The environments of one run. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._changed = threading.Condition()
        self._builds: dict[str, _Build] = {}
        self._uncompiled: dict[str, Environment] = {}
        self._used: set[str] = set()
        self._due = 0
        """how many stages build what they wait for"""
        self._stopped = False
        self._thread: threading.Thread | None = None

    def expect(self, names: Iterable[str], show: Show) -> None:
        """Build these, the first first, unless they are built; does not wait. `show` is called in another thread."""
        with self._changed:
            for name in names:
                if build := self._builds.get(name):
                    build.is_needed = True
                elif not environments.find(self._root, name).is_built:
                    self._builds[name] = _Build(name)
            self._go_on(show)

    def drop(self, name: str) -> None:
        """No stage needs it any more: if it is being built, that is stopped."""
        with self._changed:
            if build := self._builds.get(name):
                build.is_needed = False

    def get(self, name: str, show: Show, waits: Callable[[], None]) -> Environment:
        """The environment, for a stage whose turn has come; built now, or waited for, if it is not there.

        `waits` is called again and again, and may raise to give up. Raises RecastError if it cannot be built, which is
        tried once in a run.
        """
        with self._changed:
            build = self._builds.setdefault(name, _Build(name))
            build.is_needed = True
            begins, build.is_begun = not build.is_begun, True
            self._due += begins
        if begins:
            try:
                self._build(build, show, waits)
            finally:
                with self._changed:
                    self._due -= 1
                    self._changed.notify_all()
        while not build.over.wait(_POLL_SECONDS):
            waits()
        if build.error:
            raise build.error
        environment = environments.ensure(self._root, name, lambda text: None, waits, compiled=False)
        with self._changed:
            self._used.add(name)
            if not environment.is_compiled:
                self._uncompiled[name] = environment
                self._go_on(show)
        return environment

    def stop(self) -> None:
        """End what is being built, with all its processes, and build nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            working = self._thread
        if working:
            working.join()

    def _go_on(self, show: Show) -> None:
        if not self._thread and not self._stopped and (self._next() or self._uncompiled):
            self._thread = threading.Thread(target=self._work, args=(show,), name="build environments", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _next(self) -> _Build | None:
        return next((build for build in self._builds.values() if not build.is_begun and build.is_needed), None)

    def _work(self, show: Show) -> None:
        while True:
            with self._changed:
                # what a stage waits for has the cores for itself
                self._changed.wait_for(lambda: self._stopped or not self._due)
                build = self._next()
                if self._stopped or not (build or self._uncompiled):
                    self._thread = None
                    return
                if build:
                    build.is_begun = True
                else:
                    # first what is still to be imported
                    name = min(self._uncompiled, key=self._used.__contains__)
                    uncompiled = self._uncompiled.pop(name)
            if not build:
                self._compile(uncompiled)
                continue
            self._build(build, show, partial(_refuse_unneeded, build))
            if build.error and not isinstance(build.error, Interrupted):
                show(Building(build.name, str(build.error), ended=True))

    def _compile(self, environment: Environment) -> None:
        def gives_way() -> None:
            if self._stopped or self._due or self._next():
                raise _Unneeded

        try:
            environments.finish(environment, lambda text: None, gives_way, beside=True)
        except _Unneeded:
            with self._changed:
                self._uncompiled.setdefault(environment.name, environment)
        except OSError:
            pass  # it is used as it is; whoever needs it compiled is told why that cannot be

    def _build(self, build: _Build, show: Show, waits: Callable[[], None]) -> None:
        began = False

        def say(text: str) -> None:
            nonlocal began
            began = True
            show(Building(build.name, text))

        def looks_up() -> None:
            if self._stopped:
                raise Interrupted(f"the run was stopped while the environment '{build.name}' was built")
            waits()

        ending = ""
        try:
            environment = environments.ensure(self._root, build.name, say, looks_up, compiled=False)
            if not environment.is_compiled:
                with self._changed:
                    self._uncompiled[build.name] = environment
        except _Unneeded:
            ending = f"stopped building the environment '{build.name}', which no stage needs any more"
            with self._changed:
                del self._builds[build.name]
        except Exception as error:
            build.error = error
        finally:
            if began:
                show(Building(build.name, ending, ended=True))
            build.over.set()


def _refuse_unneeded(build: _Build) -> None:
    if not build.is_needed:
        raise _Unneeded
