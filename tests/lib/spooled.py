"""An executor as a batch system's would be, without `sbatch`: each stage is a job, a process of its own.

`--on spool:FOLDER` takes every checkout in the folder for a node, which runs `python -m tests.lib.spooled ROOT`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from recast.pipeline.core.errors import Interrupted, StageFailed
from recast.pipeline.execution.checkout import describe, differs
from recast.pipeline.execution.events import Changed, Show, State
from recast.pipeline.execution.scheduler import Machine
from recast.pipeline.execution.stage_executor import Site, Work, WorkerFailed

MACHINE = Machine(1, 4.0)


def opened(site: Site) -> Spool:
    """What the entry point names."""
    return Spool(site)


class Spool:
    """Nodes that are checkouts in a folder."""

    def __init__(self, site: Site) -> None:
        ours = describe(site.root)
        self.nodes = {
            path.name: path for path in sorted(Path(site.address.partition(":")[2]).iterdir()) if path.is_dir()
        }
        self._why = {name: why for name, path in self.nodes.items() if (why := differs(ours, describe(path)))}

    def workers(self) -> Mapping[str, Machine]:
        return {name: MACHINE for name in self.nodes if name not in self._why}

    def refused(self) -> Mapping[str, str]:
        return self._why

    def submit(self, work: Work, worker: str, show: Show) -> Job:
        return Job(self.nodes[worker], work, worker, show)

    def close(self) -> None:
        """Nothing is kept."""


class Job:
    """A stage in the queue."""

    def __init__(self, node: Path, work: Work, worker: str, show: Show) -> None:
        self._stage, self._worker, self._cancelled = work.stage, worker, False
        job = {"name": work.stage.dvc_name, "token": "job", "key": work.key, "reads": dict(work.reads)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.lib.spooled", str(node)],
            cwd=node,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(node / "src"), str(Path(__file__).parents[2])])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._job = json.dumps({**job, "entries": dict(work.entries), "timeout": work.timeout})
        show(Changed(work.stage.id, State.RUNNING))

    def wait(self) -> float:
        said, _ = self._process.communicate(self._job)
        if self._cancelled:
            raise Interrupted("cancelled")
        if self._process.returncode:
            raise WorkerFailed(self._worker, f"its job ended with {self._process.returncode}")
        found = json.loads(said.splitlines()[-1])
        if "unable" in found:
            raise WorkerFailed(self._worker, found["unable"])
        if "failed" in found:
            raise StageFailed(found["failed"], found["remedy"])
        return float(found["seconds"])

    def cancel(self) -> None:
        self._cancelled = True
        self._process.kill()


def main() -> None:
    from recast.pipeline.execution.worker_agent import Agent

    root = Path(sys.argv[1])
    agent = Agent(root, MACHINE, lambda text: None)
    try:
        print(json.dumps(agent.run(json.load(sys.stdin), lambda said: None)))
    finally:
        agent.close()


if __name__ == "__main__":
    main()
