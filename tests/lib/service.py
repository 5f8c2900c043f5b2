"""A service as a user has it: its process, and a model that misbehaves on demand."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# its first number says what it does: 1 waits, 2 dies, 3 raises, 4 gives NaN, 5 gives a proof alone,
# 6 says that it is at work and waits long, else it sums
MODEL = """
import os, time
import numpy as np
from recast.stages.base import progress
from recast.stages.common.dataset import Contract, Input, Output
from recast.stages.common.samples import Samples
from recast.stages.serving.model import Answer, ServedModel
from tests.lib.contracts import contract as contract_of

def both(x):
    image, ids = x.arrays["image"], x.arrays["ids"]
    return Samples({"sum": image.sum(2) + ids, "most": ids.max(1)})

def load(emitted, means):
    print("noise of a tool")
    progress("at work")
    if emitted.name == "broken" or (emitted.parent / "unreadable").exists():
        raise RuntimeError("no such weights")

    if emitted.name == "several":
        ends = (Output("sum", (2,)), Output("most", (), "int64"))
        inputs = (Input("image", (2, 3), "uint8", 255.0), Input("ids", (2,), "int64", dtype="int64"))
        return ServedModel(Contract("d", inputs, outputs=ends), "normalised", both)

    def predict(x):
        kind = x.flat[0]
        if kind == 1:
            time.sleep(3)
        if kind == 6:
            (emitted.parent / "at work").touch()
            time.sleep(60)
        if kind == 2:
            os._exit(7)
        if kind == 3:
            raise RuntimeError("secret path")
        if kind == 4:
            return np.full((len(x), 2), np.nan, np.float32)
        if kind == 5:
            return Answer(None, {"proof": {"of": len(x)}})
        return np.stack([x.sum((1, 2)), -x.sum((1, 2))], 1)

    return ServedModel(contract_of("d", (2, 3), "float32", 1.0, (0.0,), (1.0,), ("a", "b")), "normalised", predict)
"""


class Service:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def send(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, Any, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith(("{", "[")) else text, answer.headers

    def predict(self, samples: Any, **more: Any) -> tuple[int, Any]:
        return self.send("POST", "/predict", json.dumps({"input": samples, **more}).encode())[:2]


def _artifacts(tmp_path: Path, target: str, emitted: str, module: str) -> dict[str, Any]:
    return {
        **{"recipe": "r", "target": target, "params": {}, "local": str(tmp_path)},
        "directories": {"emit": str(tmp_path / emitted)},
        "predictor": {"python": sys.executable, "module": module},
    }


def start(
    tmp_path: Path, emitted: str = "emit", module: str = "a_model", beside: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """`module`: that of the model, below `tmp_path`; `beside`: more targets, each with such a one."""
    (tmp_path / "a_model.py").write_text(MODEL)
    job = {
        "root": str(tmp_path),
        "module": "recast.stages.serving.serve",
        "options": {
            **{
                "host": "127.0.0.1",
                "port": 0,
                "workers": 1,
                "queue": 8,
                "timeout": 20.0,
                "max_body": 1,
                "threads": 1,
                "memory": None,
                "allowed_host": [],
                "head_timeout": 10.0,
                "body_timeout": 30.0,
                "connections": 64,
            },
            **options,
        },
        "artifacts": {
            **_artifacts(tmp_path, "t", emitted, module),
            "beside": [_artifacts(tmp_path, name, emitted, module) for name, module in (beside or {}).items()],
        },
    }
    return subprocess.Popen(
        [sys.executable, "-m", "recast.pipeline.processes.verb_process", json.dumps(job)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), str(tmp_path)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background ignores SIGINT, and would hand that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def kill_worker(service: Service) -> None:
    """Kill -9 the process of the model, which the service started."""
    (worker,) = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{worker}").exists())


def wait_until(come: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not come():
        assert time.monotonic() < until
        time.sleep(0.02)


@contextmanager
def serving(tmp_path: Path, **options: Any) -> Iterator[Service]:
    process = start(tmp_path, **options)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert re.match(r"r(/t)? answers on http://127\.0\.0\.1:", line), (
            line,
            process.stderr and process.stderr.read(),
        )
        yield Service(process, int(line.split()[3].rpartition(":")[2]))
    finally:
        process.kill()
        process.communicate()
