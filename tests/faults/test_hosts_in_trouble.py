"""Hosts of workers that fail in the middle of a stage, each in its own way: real networks, disks and processes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lib import machines, napping, remotes
from tests.lib.tally import Tally

pytest.importorskip("distributed")


@pytest.mark.slow
@pytest.mark.fault("worker's host hangs, is unplugged, has a full disk, or loses the remote: another does its work")
def test_what_a_host_in_trouble_was_given_is_done_by_another(tmp_path: Path, tally: Tally) -> None:
    """Each of the four at the same time; a fifth does its own work and theirs."""
    big = "seconds: 10, kilobytes: 120000"
    stages = {f"t{number}": {"first": f"{{{big}, says: {number}}}", "second": "{}"} for number in range(5)}
    with ExitStack() as stack:
        (address, storage), hosts = stack.enter_context(machines.network(5))
        remote = stack.enter_context(remotes.ssh(tmp_path / "sshd", address=storage))
        driver = napping.lay(tmp_path / "driver", stages, remote)
        (driver / "device.txt").write_text("cpu\n")
        alone = napping.outputs_alone(driver, tmp_path / "alone")
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
            "w3": "(could not be sent to the remote|the remote cannot be asked)",
        }
        run = subprocess.Popen(
            [str(driver / "recast"), "run", "--on", at, "--json"],
            cwd=driver, env=napping.variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert run.stdout
        said, struck = "", dict[str, str]()
        for line in run.stdout:
            said += line
            if (found := re.search(r'"on (w\d)"', line)) and found[1] in plant:
                struck[found[1]] = json.loads(line)["stage"]
                plant.pop(found[1])()
        ended = run.wait()
        assert not plant, said  # each was given something
        same = ended == 0 and napping.outputs(driver) == alone
        for worker, reason in why.items():
            expected = rf"{struck[worker]} is tried elsewhere: worker {worker}: [^\"]*{reason}"
            told = [line for line in said.splitlines() if "elsewhere" in line]
            tally.count(None if same and re.search(expected, said) else f"{worker}: ended with {ended}: {told}")
        assert not tally.losses, tally.losses
