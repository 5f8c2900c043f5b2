"""zig, from the package `ziglang`: checks and builds the generated code, with its cache in the scratch folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from recast.stages.base import StageError
from recast.stages.common.vendor_errors import refuse_if_killed
from recast.stages.targets.zml.check.instrument import watched
from recast.stages.targets.zml.project import MODEL, TEST, ZIG_VERSION

BINARY = "recast_zml"
OPTIMISE = "ReleaseSafe"
"""with safety checks, so that an index out of range stops the program"""


def zig() -> str:
    """The program; StageError if the package holds another version than the generated code is written for."""
    import ziglang

    program = str(Path(ziglang.__file__).parent / "zig")
    found = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.strip()
    if found != ZIG_VERSION:
        raise StageError(f"zig is {found}, and the generated code is for {ZIG_VERSION}", "pin ziglang in envs/zml.in")
    return program


def check_syntax(files: Sequence[Path]) -> None:
    """`zig fmt --check` and `zig ast-check`; StageError naming the file and what is wrong in it."""
    program = zig()
    for file in files:
        for arguments, fault in (
            (("ast-check", str(file)), "is not valid Zig"),
            (("fmt", "--check", str(file)), "is not formatted as zig fmt would"),
        ):
            done = _run([program, *arguments])
            if done.returncode:
                place = f": {first_error(done.stderr)}" if done.stderr.strip() else ""
                raise StageError(f"{file.name} {fault}{place}", "run emit again; do not edit what it wrote")


def build(emitted: Path, stand_in: Path, scratch: Path) -> Path:
    """The program of `stand_in`/main.zig over the emitted folder and a watched copy of its model.

    StageError with the compiler's first error. Without symbols and threads, which halves the time zig takes.
    """
    program = scratch / BINARY
    copy = scratch / "watched" / MODEL
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(watched((emitted / MODEL).read_text(encoding="utf-8")), encoding="utf-8")
    command = [
        zig(),
        "build-exe",
        f"-O{OPTIMISE}",
        "-fstrip",
        "-fsingle-threaded",
        "--name",
        BINARY,
        f"-femit-bin={program}",
    ]
    command += ["--cache-dir", str(scratch / "zig"), "--global-cache-dir", str(library_cache(scratch))]
    modules = {"torch2zml": emitted / TEST, "watched": copy}
    command += [*(word for name in (*modules, "zml") for word in ("--dep", name)), f"-Mroot={stand_in / 'main.zig'}"]
    for name, path in modules.items():
        command += ["--dep", "zml", f"-M{name}={path}"]
    command.append(f"-Mzml={stand_in / 'zml.zig'}")
    done = _run(command)
    if done.returncode:
        raise StageError(
            f"the emitted model does not compile: {first_error(done.stderr)}",
            "see the log; this is a fault of the zml target's code, or of the stand-in",
        )
    return program


def library_cache(scratch: Path) -> Path:
    """Where zig keeps its own compiled libraries: with the rest, so that nothing is written elsewhere."""
    return scratch / "zig"


def first_error(text: str) -> str:
    """Of a compiler's output, the first error, with the file's name and without its folder."""
    lines = text.strip().splitlines() or ["no message"]
    line = next((line for line in lines if "error:" in line), lines[0])
    place, colon, message = line.partition(": error: ")
    return f"{Path(place).name}: {message}" if colon else line


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    # the compiler's own words belong in the stage's log
    sys.stderr.write(done.stdout + done.stderr)
    refuse_if_killed("zig", done.returncode, "use a smaller model")
    return done
