"""The Solidity compiler EZKL asks for, 0.8.20, from the npm package `solc`, run by Node.js.

EZKL looks for it where the tool `svm` would have put it, below the home directory, and would download it. Here it finds
a small program in the private home of its process, which hands the job to the package's compiler.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from recast.stages.base import StageError, progress
from recast.stages.targets.ezkl.circuit import settings
from recast.stages.targets.ezkl.keys import keys
from recast.stages.targets.ezkl.keys.local_store import written_whole
from recast.stages.targets.ezkl.process.calls import Call, Ezkl, TimeLimits

VERSION = "0.8.20"
INTEGRITY = "fPRnGspIEqmhu63RFO3pc79sLA7ZmzO0Uy0L5l6hEt2wAsq0o7UV6pXkAp3Mfv9IBhg7Px/oTu3a+y4gs3BWrQ=="
"""SHA-512 of the package solc@0.8.20, in base 64, as its registry states it"""
COMPILER = "package/soljson.js"
"""in the package: the compiler, as one file that needs no other"""
PROGRAM = """\
const compiler = require(process.argv[2]);
const compile = compiler.cwrap('solidity_compile', 'string', ['string', 'number', 'number']);
process.stdout.write(compile(require('fs').readFileSync(0, 'utf8'), 0, 0));
"""
SKIP = "or set emit.evm to false, which leaves the Solidity verifier out"
CODE = "verifier.bin"
SOURCE = "verifier.sol"
ABI = "verifier.abi"


def install(store: Path) -> Path:
    """The compiler's file in the store, downloaded by npm if it is missing; StageError if that cannot be."""
    _tool("node")
    place = store / "solc" / f"soljson-{VERSION}.js"
    if place.exists():
        return place
    npm = _tool("npm")
    progress(f"fetch the Solidity compiler {VERSION}")
    with tempfile.TemporaryDirectory() as folder:
        # what npm has kept is as good: a version never changes, and its hash is looked at
        command = [npm, "pack", f"solc@{VERSION}", "--loglevel", "error", "--prefer-offline"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        sys.stderr.write(done.stdout + done.stderr)
        packages = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packages) != 1:
            raise StageError(
                f"npm cannot fetch solc@{VERSION}: {_reason(done.stderr)}", f"connect to the network, {SKIP}"
            )
        found = base64.b64encode(hashlib.sha512(packages[0].read_bytes()).digest()).decode()
        if found != INTEGRITY:
            raise StageError(
                f"npm fetched a solc@{VERSION} of SHA-512 {found[:12]}…, and {INTEGRITY[:12]}… is expected",
                "check which registry npm uses",
            )
        with tarfile.open(packages[0]) as package, written_whole(place) as half:
            member = package.extractfile(COMPILER)
            assert member is not None, "the package has the expected hash"
            half.write_bytes(member.read())
    return place


def _reason(said: str) -> str:
    """The first line of npm's that is a sentence."""
    lines = [line.removeprefix("npm error").strip() for line in said.splitlines()]
    told = [line for line in lines if line and line.split()[0] not in ("code", "errno", "syscall")]
    return (told or ["it said nothing"])[0]


def write_verifier(circuit: Path, srs: Path, store: Path, ezkl: Ezkl, warning: str) -> bytes:
    """verifier.sol, verifier.abi and verifier.bin, beside the circuit's key; the code of the deployed contract.

    verifier.bin has that code in hexadecimal. `warning`, if any, stands at the head of verifier.sol.
    """
    compiler = install(store)
    _pretend_installed(compiler, ezkl.home)
    progress("write the Solidity verifier")
    arguments = {
        "vk_path": str(circuit / keys.VERIFICATION_KEY),
        "settings_path": str(circuit / settings.FILE),
        "sol_code_path": str(circuit / SOURCE),
        "abi_path": str(circuit / ABI),
        "srs_path": str(srs),
        "reusable": False,
    }
    # it waits for the compiler, a process whose time is not counted as its own
    ezkl.run([Call("create_evm_verifier", arguments)], "EZKL's create_evm_verifier", TimeLimits(idle=None))
    source = (circuit / SOURCE).read_text(encoding="utf-8")
    if warning:
        licence, newline, rest = source.partition("\n")
        source = f"{licence}{newline}// {warning}\n{rest}"
        (circuit / SOURCE).write_text(source, encoding="utf-8")
    code = _compile(source, compiler)
    (circuit / CODE).write_text(code.hex() + "\n", encoding="utf-8")
    return code


def _compile(source: str, compiler: Path) -> bytes:
    job: dict[str, Any] = {
        "language": "Solidity",
        "sources": {SOURCE: {"content": source}},
        "settings": {
            "optimizer": {"enabled": True, "runs": 0},  # small code before cheap calls: its size is what is limited
            "evmVersion": "shanghai",
            "metadata": {"bytecodeHash": "none"},
            "outputSelection": {"*": {"*": ["evm.deployedBytecode.object"]}},
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        program = _program(Path(folder))
        command = [_tool("node"), str(program), str(compiler)]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
    sys.stderr.write(done.stderr)
    try:
        answer = json.loads(done.stdout)
        contracts = answer["contracts"][SOURCE]
        (contract,) = contracts.values()
        return bytes.fromhex(contract["evm"]["deployedBytecode"]["object"])
    except (ValueError, KeyError) as error:
        raise StageError(f"the Solidity compiler failed: {done.stdout[:500] or done.stderr[:500]}", SKIP) from error


def _pretend_installed(compiler: Path, home: Path) -> None:
    place = home / ".svm" / VERSION / f"solc-{VERSION}"
    place.parent.mkdir(parents=True, exist_ok=True)
    program = _program(place.parent)
    words = [_tool("node"), str(program), str(compiler)]
    place.write_text("#!/bin/sh\nexec " + " ".join(map(shlex.quote, words)) + "\n", encoding="utf-8")
    place.chmod(0o755)


def _program(folder: Path) -> Path:
    path = folder / "compile.js"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def _tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise StageError(f"the Solidity verifier needs {name}, which is not installed", f"install Node.js, {SKIP}")
    return found
