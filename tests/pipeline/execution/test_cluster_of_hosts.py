"""Workers on hosts of their own: network namespaces, checkouts, disks, and a remote that each reaches by network."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest

from tests.lib import machines, napping, remotes

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

TARGETS = {
    "one": {"first": "{seconds: 1, says: 1}", "second": "{says: 2}"},
    "two": {"first": "{seconds: 1, says: 3}", "second": "{says: 4}"},
}


@pytest.mark.parametrize("kind", ["folder", "ssh", "s3"])
def test_hosts_leave_what_a_run_on_one_machine_leaves(kind, tmp_path, monkeypatch):
    with ExitStack() as stack:
        (address, storage), hosts = stack.enter_context(machines.network(2))
        remote = stack.enter_context(remotes.at(kind, storage, tmp_path, monkeypatch))
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
