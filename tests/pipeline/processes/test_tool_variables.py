"""No process of Recast's reaches for a network or writes below the user's home, unless that was asked for."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from recast.pipeline.core.layout import USER_FOLDER, user_folder
from recast.pipeline.processes import environments
from recast.pipeline.processes.tool_variables import SWITCHES, tool_variables
from recast.pipeline.processes.worker_pool import worker_variables
from tests.lib import no_network
from tests.lib.repository import ROOT, copy_repository

# one small network for every target; EZKL's Solidity compiler would come from npm, which is asked for
RECIPE = """\
model: models.tiny_mlp:TinyMlp
stages:
  data: {dataset: digits, resize: 14}
  train: {epochs: 30, batch_size: 64, lr: 5.0e-3, resources: {cpu: 1}}
  export: {opset: 13, dynamic_batch: true}
  simplify: {}
targets:
  akida: {}
  onnxruntime: {}
  wasm: {}
  c: {}
  cairo: {}
  zml: {}
  ezkl:
    quantize: {input_scale: 7}
    emit: {insecure_srs: true, evm: false}
"""
SERVED = ("akida", "onnxruntime", "ezkl")

# a client that lives in the service's network: asks, kills the process of the model, asks again
CLIENT = """\
import json, os, signal, subprocess, sys, time, urllib.request
for what in sys.argv[1:]:
    command = ["./recast", "serve", what, "--port", "0", "--timeout", "300"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    place = service.stdout.readline().split()[3]
    shape = json.load(urllib.request.urlopen(place + "/model"))["shape"]
    sample = 0
    for axis in reversed(shape):
        sample = [sample] * axis
    body = json.dumps({"input": sample, "values": "stored"}).encode()
    for _ in range(2):
        request = urllib.request.Request(place + "/predict", body, {"Content-Type": "application/json"})
        assert len(json.load(urllib.request.urlopen(request))["output"]) == 10
        with open(f"/proc/{service.pid}/task/{service.pid}/children") as children:
            worker = children.read().strip()
        os.kill(int(worker), signal.SIGKILL)
        while os.path.exists(f"/proc/{worker}"):
            time.sleep(0.02)
    assert b"swagger" in urllib.request.urlopen(place + "/docs").read()
    service.send_signal(signal.SIGINT)
    assert service.wait() == 0
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty one; skips the test where no network namespace can be made. With CI set, that is a failure."""
    if why_not := no_network.why_not():
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(why_not)
        pytest.skip(why_not)
    place = tmp_path / "home"
    place.mkdir()
    return place


def own_variables(home: Path) -> dict[str, str]:
    """What a user has who has set nothing, but for where environments lie."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", USER_FOLDER) if name in os.environ}
    return {**kept, "HOME": str(home)}


def left_in(home: Path) -> list[str]:
    """The files there, but for uv's cache of packages, which is the user's own."""
    files = [path.relative_to(home).as_posix() for path in home.rglob("*") if not path.is_dir()]
    return sorted(name for name in files if not name.startswith(".cache/uv/"))


def sees_nothing(place: Path, home: Path, *command: str, code: int = 0) -> str:
    """What the command printed; it must end so, reach for nothing and leave nothing at home."""
    tried, done = no_network.watch(command, place, own_variables(home))
    assert done.returncode == code, f"{command}:\n{done.stdout}\n{done.stderr}"
    assert (tried, left_in(home)) == ([], []), command
    return done.stdout


def test_the_watch_sees_every_kind_of_attempt_and_nothing_on_the_loopback(home, tmp_path):
    code = """
import contextlib, socket, subprocess
def reach(family, kind, address):
    with socket.socket(family, kind) as own, contextlib.suppress(OSError):
        own.connect(address)
        own.send(b"x")
reach(socket.AF_INET, socket.SOCK_STREAM, ("203.0.113.1", 443))
reach(socket.AF_INET, socket.SOCK_DGRAM, ("198.51.100.7", 123))
with contextlib.suppress(OSError):
    socket.getaddrinfo("telemetry.example.org", 443)
with socket.create_server(("127.0.0.1", 0)) as own:
    socket.create_connection(own.getsockname()).close()
subprocess.Popen(["bash", "-c", "sleep 0.5; echo > /dev/tcp/203.0.113.9/80"], start_new_session=True)
"""
    tried, done = no_network.watch([sys.executable, "-c", code], tmp_path, own_variables(home))
    assert done.returncode == 0, done.stderr
    assert tried == [
        "connected to 203.0.113.1 port 443",
        "sent to 198.51.100.7 port 123",
        "looked up telemetry.example.org",
        "connected to 203.0.113.9 port 80",
    ]


def test_onnxruntime_by_itself_leaves_an_id_at_home_and_in_a_worker_does_not(home, tmp_path):
    python = environments.ensure(ROOT, "onnx", print).python
    command = [str(python), "-c", "import onnxruntime"]
    _, done = no_network.watch(command, tmp_path, own_variables(home))
    assert done.returncode == 0 and any("onnxruntime" in name for name in left_in(home))
    fresh = tmp_path / "another"
    fresh.mkdir()
    variables = {**worker_variables(tmp_path, 1), "HOME": str(fresh)}
    tried, done = no_network.watch(command, tmp_path, variables)
    assert done.returncode == 0 and (tried, left_in(fresh)) == ([], [])


def test_all_processes_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    told = worker_variables(tmp_path, 1)
    assert tool_variables(tmp_path).items() <= told.items() and SWITCHES.items() <= told.items()
    assert told["XDG_CACHE_HOME"] == str(tmp_path / ".recast/cache")
    # a recast that one of them calls looks where this one does
    assert told[USER_FOLDER] == str(user_folder())


@pytest.mark.slow
def test_a_run_of_every_target_and_what_is_done_with_its_results_stay_on_this_machine(home, tmp_path):
    place = tmp_path / "repository"
    place.mkdir()
    copy_repository(place)
    (place / "recipes/offline.yaml").write_text(RECIPE)
    sees_nothing(place, home, "./recast", "run", "offline")
    for verb in ("explain", "plan"):
        sees_nothing(place, home, "./recast", verb, "offline")
    sees_nothing(place, home, "./recast", "blame", "offline/onnxruntime")
    sees_nothing(place, home, "./recast", "share", code=2)  # no remote is configured
    sees_nothing(place, home, ".venv/bin/dvc", "status", "--with-deps", "offline")
    (place / "client.py").write_text(CLIENT)
    sees_nothing(place, home, sys.executable, "client.py", *(f"offline/{target}" for target in SERVED))
    (place / "image.json").write_text(json.dumps([[[0] * 14] * 14]))
    sees_nothing(place, home, "./recast", "prove", "offline/ezkl", "image.json", "-o", "proof.json")
    sees_nothing(place, home, "./recast", "check-proof", "offline/ezkl", "proof.json")
    sees_nothing(place, home, "./recast", "prune-keys")


def test_an_environment_of_no_packages_is_built_without_a_network(home, tmp_path, monkeypatch):
    place = tmp_path / "repository"
    place.mkdir()
    copy_repository(place)
    (place / "envs/bare.txt").write_text("# python: 3.11\n# size: 1 MB\n")
    monkeypatch.setenv(USER_FOLDER, str(tmp_path / "shared"))
    assert "built the environment" in sees_nothing(place, home, "./recast", "env", "build", "bare")
    assert list((tmp_path / "shared/envs").glob("bare-*/bin/python"))
