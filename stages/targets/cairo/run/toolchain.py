"""StarkWare's compilers of the package `cairo-lang`: a workspace becomes a program for the Cairo VM.

Cairo 2.1.0, the only version whose archive on the Python index holds the complete corelib. The compilers are programs
of their own; what they say goes to the log.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recast.stages.base import StageError
from recast.stages.common.machine_memory import GIB, SHARE_OF_MEMORY, machine_memory
from recast.stages.common.vendor_errors import refuse_if_killed
from recast.stages.targets.cairo.run import harness
from recast.stages.targets.cairo.syntax.casm import Casm, call_sites

CAIRO_VERSION = "2.1.0"
MAIN = "inference::main"


def compile_workspace(workspace: Path, scratch: Path, entry: str = MAIN) -> Casm:
    """Compile a Scarb workspace: `entry`, a path in its root package, is `fn(Span<felt252>) -> Array<felt252>`.

    The workspace is not changed; `scratch` must be empty or absent. Raises StageError with the first message of the
    compiler, and the file and line it names.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    package, roots = crate_roots(workspace)
    source = scratch / harness.CRATE / "src"
    source.mkdir(parents=True)
    (source / "lib.cairo").write_text(harness.SOURCE.format(package=package, entry=entry), encoding="utf-8")
    lines = [f"{name} = {json.dumps(str(folder))}" for name, folder in roots.items()]
    project = "\n".join(["[crate_roots]", *lines, f'{harness.CRATE} = "{harness.CRATE}/src"', ""])
    (scratch / "cairo_project.toml").write_text(project, encoding="utf-8")
    compilers = programs()
    sierra, casm = scratch / "sierra.json", scratch / "casm.json"
    # names are replaced so that functions can be told apart in the compiled program
    _run([compilers / "starknet-compile", "-r", "-c", harness.ENTRY, scratch, sierra], workspace)
    _run([compilers / "starknet-sierra-compile", "--add-pythonic-hints", sierra, casm], workspace)
    return _read(json.loads(sierra.read_text(encoding="utf-8")), json.loads(casm.read_text(encoding="utf-8")))


def crate_roots(workspace: Path) -> tuple[str, dict[str, Path]]:
    """Name of the root package, and the source folder of each crate, as the Scarb.toml files name them."""
    manifests = [workspace / "Scarb.toml", *sorted((workspace / "crates").glob("*/Scarb.toml"))]
    roots = {}
    for manifest in manifests:
        try:
            name = tomllib.loads(manifest.read_text(encoding="utf-8"))["package"]["name"]
        except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
            raise StageError(
                f"{manifest.relative_to(workspace)} names no package: {error}", "run emit again"
            ) from error
        roots[name] = (manifest.parent / "src").resolve()
    return next(iter(roots)), roots


def programs() -> Path:
    """The folder of the compilers."""
    import starkware.starknet.compiler.v1 as compiler

    return Path(next(iter(compiler.__path__))) / "sierra-compiler-major-1" / "bin"


def _run(command: Sequence[str | Path], workspace: Path) -> None:
    name = f"Cairo's {Path(command[0]).name}"
    # with all of the machine's memory gone, the system would end whatever it chooses
    limit = int(SHARE_OF_MEMORY * machine_memory())
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        if sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):  # it has ended already
                resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        said, _ = process.communicate()
    sys.stderr.write(said)
    if process.returncode == -signal.SIGABRT and "memory allocation of" in said:
        raise StageError(
            f"{name} needs more than the {limit / GIB:.1f} GiB of memory that it may have",
            "use a smaller model, or a machine with more memory",
        )
    refuse_if_killed(name, process.returncode, "use a smaller model")
    if process.returncode:
        raise StageError(
            f"the emitted workspace does not compile with Cairo {CAIRO_VERSION}: {first_error(said, workspace)}",
            "see the log; if the sources were not edited, this is a fault of the cairo target",
        )


def first_error(text: str, workspace: Path) -> str:
    """Of a compiler's output, the first error with the file and line it is in, without folders above the workspace."""
    lines = [line.strip() for line in text.splitlines()]
    at = next((index for index, line in enumerate(lines) if line.lower().startswith(("error", "thread"))), None)
    if at is None:
        return next((line for line in lines if line), "no message")
    message = re.sub(r"^error(\[\w+\])?:\s*", "", lines[at])
    place = next((line.removeprefix("--> ") for line in lines[at + 1 : at + 3] if line.startswith("--> ")), "")
    place = place.replace(f"{workspace.resolve()}/", "")
    return f"{place}: {message}" if place else message


def _read(sierra: dict[str, Any], casm: dict[str, Any]) -> Casm:
    (point,) = casm["entry_points_by_type"]["EXTERNAL"]
    bytecode = tuple(int(word, 16) for word in casm["bytecode"])
    # functions lie in the program in the order of the Sierra program, and something calls each but the entry point
    starts = sorted({point["offset"], *(pc for _, pc in call_sites(bytecode) if pc < len(bytecode))})
    names = [name for _, name in sierra["sierra_program_debug_info"]["user_func_names"]]
    if len(starts) != len(names):
        raise StageError(
            f"the compiled program has {len(starts)} functions, and the compiler named {len(names)}",
            "this is a fault of the cairo target",
        )
    return Casm(
        bytecode=bytecode,
        hints=dict(casm["hints"]),
        pythonic_hints=dict(casm["pythonic_hints"]),
        entry_point=point["offset"],
        builtins=tuple(point["builtins"]),
        functions=dict(zip(starts, names, strict=True)),
        sierra_felts=len(sierra["sierra_program"]),
    )
