"""Machines of one network on one machine: network namespaces on a bridge, and file systems of a size of their own.

Needs root, `ip` (iproute2) and `mount`; skips, or fails in CI, where they are not to be had.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Host:
    """A machine that reaches this one, by its addresses on the bridge, and nothing else."""

    name: str

    @property
    def within(self) -> tuple[str, ...]:
        """What comes before a command that is to run there."""
        return ("ip", "netns", "exec", self.name)

    def unplug(self) -> None:
        """Nothing arrives there any more, and nobody is told."""
        _ip("-n", self.name, "link", "set", "eth0", "down")

    def plug(self) -> None:
        _ip("-n", self.name, "link", "set", "eth0", "up")

    def lose(self, address: str) -> None:
        """What it sends to that address arrives nowhere, and nobody is told; other addresses stay in reach."""
        nobody = ("lladdr", "02:00:00:00:00:00", "dev", "eth0", "nud", "permanent")
        _ip("-n", self.name, "neigh", "replace", address, *nobody)


@contextmanager
def network(count: int) -> Iterator[tuple[tuple[str, str], list[Host]]]:
    """Two addresses of this machine on a bridge, and so many hosts on it.

    What still runs there in the end is killed.
    """
    _require("ip")
    # of those that are set aside for such uses (RFC 2544), sixteen addresses for each process
    base, bridge = os.getpid() % 4096, f"rc{os.getpid()}"
    net = f"198.18.{base // 16}"
    first = base % 16 * 16
    assert count <= 12
    ours = f"{net}.{first + 1}", f"{net}.{first + 2}"
    hosts = [Host(f"{bridge}-{number}") for number in range(count)]
    made: list[Host] = []
    try:
        _ip("link", "add", bridge, "type", "bridge")
        for address in ours:
            _ip("addr", "add", f"{address}/28", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, host in enumerate(hosts):
            _ip("netns", "add", host.name)
            made.append(host)
            here = f"{bridge}v{number}"
            _ip("link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", here, "master", bridge, "up")
            _ip("-n", host.name, "addr", "add", f"{net}.{first + 3 + number}/28", "dev", "eth0")
            _ip("-n", host.name, "link", "set", "lo", "up")
            host.plug()
        yield ours, hosts
    finally:
        for host in made:
            left = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True).stdout.split()
            for process in left:
                subprocess.run(["kill", "-KILL", process], stderr=subprocess.DEVNULL)
            # deleting the namespace deletes it too, but not at once
            subprocess.run(["ip", "link", "del", f"{bridge}v{hosts.index(host)}"], check=False)
            subprocess.run(["ip", "netns", "del", host.name], check=False)
        subprocess.run(["ip", "link", "del", bridge], check=False)


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """A file system that holds no more than that, at `place`."""
    _require("mount")
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        _unmount(place)


def _unmount(place: Path) -> None:
    """Once the processes that have files open there have ended."""
    for _ in range(50):
        if subprocess.run(["umount", str(place)], capture_output=True).returncode == 0:
            return
        time.sleep(0.2)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _require(tool: str) -> None:
    reason = "" if shutil.which(tool) else f"there is no {tool} on this machine"
    _need(reason or ("" if os.getuid() == 0 else "only root can lay networks and file systems"))


def _need(reason: str) -> None:
    """Skip the test, or fail it in CI, if there is a reason."""
    if reason:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason)
        pytest.skip(reason)


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Nothing can be written below `place`, by nobody."""
    _require("mount")
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        yield
    finally:
        _unmount(place)


def as_user(user: int, group: int, mask: int, python: Path) -> list[str]:
    """What comes before a command that another user is to run, one of no name, in a group, with a umask.

    Where this Python lies below a folder that only its owner may enter, as root's home, that is laid over so that
    others may, for this command alone.
    """
    for tool in ("unshare", "setpriv", "mount"):
        _require(tool)
    above = [folder for folder in reversed(python.resolve().parents) if not folder.stat().st_mode & stat.S_IXOTH]
    script = "set -e; mount -t tmpfs tmpfs /mnt; "
    for number, folder in enumerate(above):
        script += f"mkdir /mnt/u{number} /mnt/w{number}; "
        options = f"lowerdir={folder},upperdir=/mnt/u{number},workdir=/mnt/w{number}"
        script += f"mount -t overlay overlay -o {shlex.quote(options)} {shlex.quote(str(folder))}; "
        script += f"chmod o+x {shlex.quote(str(folder))}; "
    script += f"umask {mask:04o}; "
    script += f'exec setpriv --reuid {user} --regid {group} --clear-groups "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def another_clock() -> dict[str, str]:
    """Variables with which a program has the time of day that FAKETIME says (Debian's libfaketime).

    Times of files, and how long something takes, stay as they are.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    _need("" if found else "there is no libfaketime on this machine")
    return {"LD_PRELOAD": str(found[-1]), "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
