"""The executor of `--on local:N`: a scheduler in this process, and N workers on this machine, each with its own clone.

They share nothing but the DVC remote, as workers on other machines do, so that what runs here runs there.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from recast.pipeline.core.errors import RecastError
from recast.pipeline.core.git import git
from recast.pipeline.core.layout import DEVICE, import_folder
from recast.pipeline.execution import dask_worker
from recast.pipeline.execution.checkout import describe, refuse_dirty
from recast.pipeline.execution.dask_executor import DaskExecutor
from recast.pipeline.execution.scheduler import this_machine
from recast.pipeline.execution.stage_executor import Site
from recast.pipeline.sharing.remote import know_remote

CLONES = ".recast/workers"
_START_SECONDS = 600.0
"""a worker imports DVC and makes a plan, which on a busy machine takes a while; one that ends is noticed at once"""
_MOST = 64


def local(site: Site) -> LocalCluster:
    """The executor of an address `local:N`."""
    found = re.fullmatch(r"local:(\d{1,3})", site.address)
    if not found or not 1 <= int(found[1]) <= _MOST:
        raise RecastError(f"'--on {site.address}' is not understood", f"write 'local:N', with N from 1 to {_MOST}")
    return LocalCluster(site, int(found[1]))


class LocalCluster(DaskExecutor):
    """Workers that this process starts, and ends."""

    def __init__(self, site: Site, count: int) -> None:
        distributed = dask_worker.need_distributed()
        refuse_dirty(describe(site.root))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._cluster = distributed.LocalCluster(
            n_workers=0, host="127.0.0.1", protocol="tcp://", dashboard_address=None, processes=False, silence_logs=50
        )
        address = self._cluster.scheduler_address
        try:
            for number in range(count):
                self._processes.append(_start(site, count, number, address))
            super().__init__(Site(site.root, address, site.say, site.changed))
            self.await_workers(count, _START_SECONDS, self._has_lost)
        except BaseException:
            self.close()
            raise

    def _has_lost(self) -> bool:
        return any(process.poll() is not None for process in self._processes)

    def close(self) -> None:
        if hasattr(self, "_client"):
            super().close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with contextlib.suppress(Exception):
            self._cluster.close(timeout=5)


def _start(site: Site, count: int, number: int, address: str) -> subprocess.Popen[bytes]:
    """A worker in a clone of its own, with its share of this machine."""
    place, name = site.root / CLONES / str(number), f"local-{number}"
    root = _cloned(site.root, place)
    know_remote(site.root, root)
    log = place.with_name(f"{place.name}.log").open("wb")
    machine = this_machine()
    share = ["--cores", str(max(1, machine.cores // count)), "--memory", f"{machine.memory / count:.1f}"]
    with log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "recast", "worker", address, "--name", name, *share],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(import_folder(root))},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the driver
        )


def _cloned(root: Path, place: Path) -> Path:
    """A clone at our commit, and in it the project's folder."""
    top = Path(git(root, "rev-parse", "--show-toplevel").rstrip("\n"))
    head = git(root, "rev-parse", "HEAD", remedy="see that the repository has a commit").strip()
    if not (place / ".git").is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        git(root, "clone", "--quiet", "--shared", "--no-checkout", str(top), str(place))
    git(place, "fetch", "--quiet", str(top), head)
    git(place, "checkout", "--quiet", "--force", "--detach", head)
    git(place, "clean", "--quiet", "-fd")
    device = root / DEVICE
    found = place / root.resolve().relative_to(top.resolve())
    if device.is_file():
        (found / device.name).write_bytes(device.read_bytes())
    return found
