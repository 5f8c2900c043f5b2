# environment: ezkl
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.circuit.network import write_samples
from recast.stages.targets.ezkl.keys import keys, srs
from recast.stages.targets.ezkl.process.calls import Call, Ezkl, EzklError, TimeLimits
from recast.stages.targets.ezkl.proof import prover
from tests.lib.ezkl import circuits
from tests.lib.onnx_models import Workplace

ROOT = Path(__file__).resolve().parents[5]
OUT_OF_RANGE = np.full((1, 8, 8), 50.0, np.float32)
"""the samples are within -1 and 1"""


def proving_arguments(work: Workplace, store: Path, ezkl: Ezkl, x: np.ndarray[Any, Any], place: Path) -> dict[str, str]:
    """Arguments of `prove` for one sample, whose witness is made and not looked at."""
    made = keys.ensure(work.root / "emit", store, ezkl)
    data, witness = write_samples(x[None], place / "input.json"), place / "witness.json"
    answer = ezkl("gen_witness", data=str(data), model=str(made.compiled), output=str(witness))
    assert answer.values == [True]
    return {
        "witness": str(witness),
        "model": str(made.compiled),
        "pk_path": str(made.proving),
        "proof_path": str(place / "proof.json"),
        "srs_path": str(made.srs),
    }


def test_a_prover_that_hangs_is_stopped(sigmoid: Workplace, store: Path, tmp_path: Path) -> None:
    ezkl = Ezkl(tmp_path, 1)
    arguments = proving_arguments(sigmoid, store, ezkl, OUT_OF_RANGE, tmp_path)
    with pytest.raises(EzklError, match="EZKL's prove hung: it used no processor time for 3 s") as caught:
        ezkl.run([Call("prove", arguments)], "EZKL's prove", TimeLimits(idle=3))
    assert caught.value.kind == "hang"
    assert "lookup_safety_margin" in caught.value.remedy


def test_a_value_out_of_a_lookups_range_is_refused_before_the_prover(
    sigmoid: Workplace, store: Path, tmp_path: Path
) -> None:
    emitted = sigmoid.root / "emit"
    # pixels are normalised to -1..1, and the contract's divisor makes them larger
    contract = json.loads((emitted / "input.json").read_text())
    bent = tmp_path / "emit"
    bent.mkdir()
    for file in emitted.iterdir():
        (bent / file.name).write_bytes(file.read_bytes())
    contract["inputs"][0]["divisor"] = 5.0
    (bent / "input.json").write_text(json.dumps(contract))
    with pytest.raises(EzklError, match="a value is out of the range of a lookup") as caught:
        prover.Prover(bent, store, threads=1).prove(np.full((1, 8, 8), 255, np.uint8), tmp_path)
    assert caught.value.kind == "range"


def test_a_call_that_takes_too_long_is_stopped(sigmoid: Workplace, store: Path, tmp_path: Path) -> None:
    ezkl = Ezkl(tmp_path, 1)
    arguments = proving_arguments(sigmoid, store, ezkl, OUT_OF_RANGE, tmp_path)
    with pytest.raises(EzklError, match="EZKL's prove took longer than 2 s") as caught:
        ezkl.run([Call("prove", arguments)], "EZKL's prove", TimeLimits(timeout=2))
    assert caught.value.kind == "timeout"


def test_a_key_of_another_circuit_is_an_error_of_ours(store: Path, tmp_path: Path) -> None:
    """The same network and columns with other logrows: EZKL panics, with an exception that is no `Exception`."""
    small, larger = (
        circuits.emitted(
            tmp_path / str(base), circuits.mlp(), {"optimize": None}, {"decomp_base": base, "decomp_legs": 3}
        )
        for base in (1024, 2048)
    )
    ezkl = Ezkl(tmp_path, 1)
    arguments = proving_arguments(small, store, ezkl, np.zeros((1, 8, 8), np.float32), tmp_path)
    other = keys.ensure(larger.root / "emit", store, ezkl)
    with pytest.raises(EzklError, match="EZKL's prove panicked: assertion") as caught:
        ezkl("prove", **{**arguments, "pk_path": str(other.proving)})
    assert caught.value.kind == "panic"
    assert "may not belong together" in caught.value.remedy


def test_a_process_that_aborts_is_an_error_of_ours(
    mlp: Workplace, sigmoid: Workplace, store: Path, tmp_path: Path
) -> None:
    """The key of another network, whose bytes EZKL takes for the size of what it allocates."""
    ezkl = Ezkl(tmp_path, 1)
    arguments = proving_arguments(mlp, store, ezkl, np.zeros((1, 8, 8), np.float32), tmp_path)
    other = keys.ensure(sigmoid.root / "emit", store, ezkl)
    with pytest.raises(EzklError, match=r"was ended by SIGABRT: memory allocation of \d+ bytes failed") as caught:
        ezkl("prove", **{**arguments, "pk_path": str(other.proving)})
    assert caught.value.kind == "killed"


def test_a_process_that_is_killed_is_an_error_of_ours(sigmoid: Workplace, store: Path, tmp_path: Path) -> None:
    ezkl = Ezkl(tmp_path, 1)
    arguments = proving_arguments(sigmoid, store, ezkl, OUT_OF_RANGE, tmp_path)
    killer = threading.Timer(1, lambda: [os.kill(process, signal.SIGKILL) for process in children(os.getpid())])
    killer.start()
    with pytest.raises(EzklError, match="EZKL's prove was ended by SIGKILL") as caught:
        ezkl.run([Call("prove", arguments)], "EZKL's prove", TimeLimits(timeout=30))
    assert "ran out of memory" in caught.value.remedy


def test_memory_has_a_bound(mlp: Workplace, store: Path, tmp_path: Path) -> None:
    ezkl = Ezkl(tmp_path, 1)
    arguments = proving_arguments(mlp, store, ezkl, np.zeros((1, 8, 8), np.float32), tmp_path)
    # that much address space is taken by Python and EZKL's own code
    bounded = Ezkl(tmp_path, 1, memory_gib=0.1)
    with pytest.raises(EzklError) as caught:
        bounded("prove", **arguments)
    assert caught.value.kind in ("memory", "killed", "refused")


IN_ORDER = """\
import asyncio, json, sys, ezkl

async def call():
    return await ezkl.create_evm_vka(**json.loads(sys.argv[1]))

print(asyncio.run(call()), flush=True)
"""


def test_functions_that_want_a_running_loop_succeed_every_time(mlp: Workplace, store: Path, tmp_path: Path) -> None:
    """A process that makes such a call and ends in order aborts or crashes now and then, after success.

    On a machine with nothing else to do it is one of eighty, on a busy one every third.
    """
    ezkl = Ezkl(tmp_path, 1)
    emitted = mlp.root / "emit"
    record = srs.read(emitted)
    # of these functions, one that needs no compiler
    arguments = {
        "vk_path": str(emitted / keys.VERIFICATION_KEY),
        "settings_path": str(emitted / settings.FILE),
        "srs_path": str(srs.locate(record, store, ezkl)),
    }

    def ended_in_order(number: int) -> subprocess.Popen[str]:
        call = json.dumps({**arguments, "vka_path": str(tmp_path / f"{number}.vka")})
        variables = {**os.environ, "HOME": str(ezkl.home), "EZKL_REPO_PATH": str(ezkl.home / "ezkl")}
        command = [sys.executable, "-c", IN_ORDER, call]
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    codes: set[int] = set()
    for _ in range(100):
        if codes & {-signal.SIGABRT, -signal.SIGSEGV}:
            break
        processes = [ended_in_order(number) for number in range(2 * (os.cpu_count() or 1))]
        assert [process.communicate()[0] for process in processes] == ["True\n"] * len(processes)
        codes |= {process.returncode for process in processes}
    else:
        pytest.fail("all ended in order: then the process that Recast ends by force may do so too")
    arguments["vka_path"] = str(tmp_path / "vka.bytes")
    for _ in range(24):
        assert ezkl.run([Call("create_evm_vka", arguments)], "create_evm_vka", TimeLimits(idle=None)).values == [True]


def test_what_ezkl_prints_goes_to_the_log(
    mlp: Workplace, store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ezkl = Ezkl(tmp_path, 1)
    with (tmp_path / "log").open("w") as log, pytest.raises(EzklError, match="EZKL's mock failed"):
        Ezkl(tmp_path, 1, log=log)("mock", witness=str(tmp_path / "absent"), model=str(tmp_path / "absent"))
    assert capfd.readouterr() == ("", "")
    assert ezkl.home.is_dir()


def test_nothing_is_written_below_the_users_home(
    mlp: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    ezkl = Ezkl(tmp_path, 1)
    emit = mlp.root / "emit"
    arguments = {"model": str(emit / settings.NETWORK), "output": str(tmp_path / "s"), "py_run_args": {}}
    ezkl("gen_settings", **arguments)
    assert list(home.iterdir()) == []


def test_it_ends_with_its_parent(sigmoid: Workplace, store: Path, tmp_path: Path) -> None:
    arguments = proving_arguments(sigmoid, store, Ezkl(tmp_path, 1), OUT_OF_RANGE, tmp_path)
    program = (
        "import sys, json; from pathlib import Path; from recast.stages.targets.ezkl.process.calls import Call, Ezkl;"
        f"Ezkl(Path({str(tmp_path)!r}), 1).run([Call('prove', json.loads(sys.argv[1]))], 'prove')"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, json.dumps(arguments)], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not (found := children(parent.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # so that it is inside EZKL, where no thread of Python's runs
    parent.kill()
    parent.wait()
    assert found
    while any(is_alive(process) for process in found) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(process) for process in found)


def children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
