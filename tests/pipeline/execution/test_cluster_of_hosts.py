"""Workers on hosts of their own: network namespaces, checkouts, disks, and a remote that each reaches by network."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.lib import machines, napping, remotes

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

TARGETS = {
    "one": {"first": "{seconds: 1, says: 1}", "second": "{says: 2}"},
    "two": {"first": "{seconds: 1, says: 3}", "second": "{says: 4}"},
}


@contextmanager
def remote_at(kind: str, address: str, place: Path, patch: pytest.MonkeyPatch) -> Iterator[remotes.Remote]:
    if kind == "ssh":
        with remotes.ssh(place / "sshd", address=address) as found:
            yield found
    elif kind == "s3":
        with remotes.s3(patch, address) as found:
            yield found
    else:
        yield remotes.Remote(str(place / "a shared folder"))


def outputs_alone(driver: Path, place: Path) -> dict[str, bytes]:
    """What a run on this machine leaves. It builds the environment too, for hosts reach no package index."""
    napping.call(napping.clone(driver, place), "run")
    return napping.outputs(place)


@pytest.mark.parametrize("kind", ["folder", "ssh", "s3"])
def test_hosts_leave_what_a_run_on_one_machine_leaves(kind, tmp_path, monkeypatch):
    with ExitStack() as stack:
        (address, storage), hosts = stack.enter_context(machines.network(2))
        remote = stack.enter_context(remote_at(kind, storage, tmp_path, monkeypatch))
        driver = napping.lay(tmp_path / "driver", TARGETS, remote)
        (driver / "device.txt").write_text("cpu\n")
        alone = outputs_alone(driver, tmp_path / "alone")
        places = [napping.clone(driver, tmp_path / f"clone{number}") for number in range(len(hosts))]
        at = stack.enter_context(napping.scheduler(address))
        stack.enter_context(napping.workers(places, at, within=[host.within for host in hosts]))
        said = napping.call(driver, "run", "--on", at, "--json").stdout
        on = set(re.findall(r'"on (w\d)"', said))
        assert on == {"w0", "w1"}, said
        assert napping.outputs(driver) == alone


def test_what_a_host_in_trouble_was_given_is_done_by_another(tmp_path, monkeypatch):
    """One hangs, one is unplugged, the disk of one is full, one loses the remote; one does its work and theirs."""
    big = "seconds: 10, kilobytes: 120000"
    stages = {f"t{number}": {"first": f"{{{big}, says: {number}}}", "second": "{}"} for number in range(5)}
    with ExitStack() as stack:
        (address, storage), hosts = stack.enter_context(machines.network(5))
        remote = stack.enter_context(remotes.ssh(tmp_path / "sshd", address=storage))
        driver = napping.lay(tmp_path / "driver", stages, remote)
        (driver / "device.txt").write_text("cpu\n")
        alone = outputs_alone(driver, tmp_path / "alone")
        # room for the checkout, and once what did not fit is deleted for more than what counts as full
        stack.enter_context(machines.small_disk(tmp_path / "clone2", 100))
        places = [napping.clone(driver, tmp_path / f"clone{number}") for number in range(len(hosts))]
        at = stack.enter_context(napping.scheduler(address))
        on = stack.enter_context(napping.workers(places, at, within=[host.within for host in hosts]))
        plant: dict[str, Callable[[], None]] = {
            "w0": on[0].hang,
            "w1": hosts[1].unplug,
            "w2": lambda: None,
            "w3": lambda: hosts[3].lose(storage),
        }
        why = {
            "w0": "it died, hangs, or cannot be reached",
            "w1": "it died, hangs, or cannot be reached",
            "w2": "its disk is full",
            "w3": "(could not be sent to the remote|the remote can be reached)",
        }
        run = subprocess.Popen(
            [str(driver / "recast"), "run", "--on", at, "--json"],
            cwd=driver, env=napping.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert run.stdout
        said, struck = "", {}
        for line in run.stdout:
            said += line
            if (found := re.search(r'"on (w\d)"', line)) and found[1] in plant:
                struck[found[1]] = json.loads(line)["stage"]
                plant.pop(found[1])()
        assert run.wait() == 0 and not plant, said
        for worker, reason in why.items():
            expected = rf"{struck[worker]} is tried elsewhere: worker {worker}: [^\"]*{reason}"
            assert re.search(expected, said), (worker, [line for line in said.splitlines() if "elsewhere" in line])
        assert napping.outputs(driver) == alone
