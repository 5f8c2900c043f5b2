"""`kill -9` of whoever builds an environment, at random moments: nothing is left of it, and the next one builds."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from recast.pipeline.processes import environments
from tests.lib.repository import ROOT
from tests.lib.small_environment import lay, quiet
from tests.lib.tally import Tally

BUILD = (
    "import sys; sys.path[:0] = [sys.argv[2], sys.argv[3]]; from pathlib import Path;"
    "from recast.pipeline.processes import environments;"
    "environments.ensure(Path(sys.argv[1]), 'small', print)"
)
# as many files as keep uv at work for seconds
PINS = "# python: 3.11\n# size: 9 MB\nnumpy==2.4.6\nonnx==1.23.2\nprotobuf==7.36.2\nml-dtypes==0.6.0\n"
TRIES = 15
GONE_S = 5.0


@pytest.mark.slow
@pytest.mark.fault("environment builder killed (SIGKILL): no process left after 5 s, the next one builds")
@pytest.mark.usefixtures("own_home")
def test_a_killed_builder_leaves_nothing(tmp_path: Path, tally: Tally) -> None:
    choose = random.Random(19)
    lay(tmp_path, PINS)
    for _ in range(TRIES):
        started = [sys.executable, "-c", BUILD, str(tmp_path), str(ROOT / "src"), str(ROOT)]
        builder = psutil.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends = time.monotonic() + choose.uniform(0.2, 4)
        below: set[psutil.Process] = set()
        while time.monotonic() < ends and builder.is_running():
            below.update(builder.children(recursive=True))
            time.sleep(0.005)
        below.update(builder.children(recursive=True))
        builder.send_signal(signal.SIGKILL)
        builder.wait()
        _, left = psutil.wait_procs(below, GONE_S)
        tally.count(f"{[process.cmdline() for process in left]} are left" if left else None)
    assert environments.ensure(tmp_path, "small", quiet).is_built
    assert not tally.losses
