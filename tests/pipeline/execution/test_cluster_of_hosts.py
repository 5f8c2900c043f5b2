"""Workers on hosts of their own: network namespaces, checkouts, disks, and a remote that each reaches by network."""

from __future__ import annotations

import re
from collections.abc import Iterator
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


@pytest.mark.parametrize("kind", ["folder", "ssh", "s3"])
def test_hosts_leave_what_a_run_on_one_machine_leaves(kind, tmp_path, monkeypatch):
    with ExitStack() as stack:
        (address, storage), hosts = stack.enter_context(machines.network(2))
        remote = stack.enter_context(remote_at(kind, storage, tmp_path, monkeypatch))
        driver = napping.lay(tmp_path / "driver", TARGETS, remote)
        (driver / "device.txt").write_text("cpu\n")
        alone = napping.outputs_alone(driver, tmp_path / "alone")
        places = [napping.clone(driver, tmp_path / f"clone{number}") for number in range(len(hosts))]
        at = stack.enter_context(napping.scheduler(address))
        stack.enter_context(napping.workers(places, at, within=[host.within for host in hosts]))
        said = napping.call(driver, "run", "--on", at, "--json").stdout
        on = set(re.findall(r'"on (w\d)"', said))
        assert on == {"w0", "w1"}, said
        assert napping.outputs(driver) == alone
