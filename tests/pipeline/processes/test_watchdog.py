"""What a killed process had started does not outlive it."""

from __future__ import annotations

import subprocess
import sys

import psutil

from recast.pipeline.processes.watchdog import Watchdog
from tests.lib.drive import ROOT, wait_until

STARTS = """\
import psutil, subprocess, sys, time
from recast.pipeline.processes.watchdog import Watchdog
dog = Watchdog()
groups = []
for name in ("watched", "ended", "other"):
    command = ["sh", "-c", "trap '' TERM; sleep 600 & sleep 600"]
    group = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True).pid
    if name != "other":
        dog.began(group)
    if name == "ended":
        dog.ended(group)
    groups.append(group)
    print(group, flush=True)
(watching,) = {child.pid for child in psutil.Process().children()} - set(groups)
print(watching, flush=True)
time.sleep(600)
"""


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


def test_a_killed_process_takes_its_groups_with_it_and_no_others():
    starter = subprocess.Popen([sys.executable, "-c", STARTS], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    watched, ended, other, dog = (psutil.Process(int(starter.stdout.readline())) for _ in range(4))
    below = watched.children(recursive=True)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    try:
        wait_until(lambda: not any(map(runs, [watched, *below, dog])), "the watched group and the watchdog are gone")
        assert runs(ended) and runs(other)
    finally:
        for process in [*ended.children(), *other.children(), ended, other]:
            process.kill()


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_closing_ends_it_and_what_is_left():
    dog, left = Watchdog(), sleeper()
    dog.began(left.pid)
    dog.close()
    assert left.wait(60) == -9
    dog.close()


def test_a_group_that_ended_is_left_alone():
    dog, left = Watchdog(), sleeper()
    try:
        dog.began(left.pid)
        dog.ended(left.pid)
        dog.close()
        assert left.poll() is None
    finally:
        left.kill()
        left.wait()
