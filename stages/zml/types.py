"""Check the emitted Zig's types against the sources of ZML with zig alone: no Bazel, no network, nothing built.

Zig analyses the emitted files and, as far as they use it, ZML's own code. What Bazel would fetch or generate, above all
the C interfaces of MLIR and PJRT, is not there: a module that has their types' names and nothing else stands for it,
and an error of ZML's code about that module is expected. Any other error counts; and canaries show that every emitted
function was analysed to its end.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from stages.base import StageError
from stages.zml import toolchain, zig_modules
from stages.zml.canaries import planted
from stages.zml.project import MODEL, TEST

ABSENT = "absent_from_the_checkout"
"""the file of that module; its name is in every error about it"""
TYPE = "pub const {name} = extern struct {{ ptr: ?*anyopaque = null }};\n"
"""as MLIR's are; what holds one then has a size"""
HARNESS = """\
const torch2zml = @import("torch2zml");

comptime {
    _ = &torch2zml.main;
    _ = &torch2zml.Model.init;
    _ = &torch2zml.Model.forward;
}
"""
_TRY = re.compile(r"\btry (.+);$", re.MULTILINE)
ATTEMPT = """
fn attempt(result: anytype) @typeInfo(@TypeOf(result)).error_union.payload {
    return undefined;
}
"""
_EMITTED = re.compile(r"\bsound/(\w+\.zig:\d+)")
_ERROR = re.compile(r"^(\S.*?):(\d+):\d+: error: (.*)$")


class NotReachedError(Exception):
    """Zig alone cannot analyse all of the emitted code; the message says what stops it."""


@dataclass(frozen=True)
class _Error:
    place: Path
    line: int
    message: str
    details: str
    """the source line and the notes below the error"""

    @property
    def shown(self) -> str:
        used = _EMITTED.search(self.details) if self.place.name not in (MODEL, TEST) else None
        return f"{self.place.name}:{self.line}: {self.message}" + (f" (used in {used[1]})" if used else "")


def check(emitted: Path, checkout: Path, scratch: Path) -> int:
    """How many functions of the emitted files zig has analysed to their end, without an error of theirs.

    Raises StageError with the first error, and NotReachedError if a function is not analysed.
    """
    folder = scratch / "types"
    (folder / "sound").mkdir(parents=True)
    (folder / "canaries").mkdir()
    functions = 0
    for name in (MODEL, TEST):
        source = _without_errors((emitted / name).read_text(encoding="utf-8"))
        (folder / "sound" / name).write_text(source, encoding="utf-8")
        faulty, lines = planted(source)
        (folder / "canaries" / name).write_text(faulty, encoding="utf-8")
        functions += len(lines)
    output, errors = _analysed(folder, "sound", checkout)
    sys.stderr.write(output)
    wrong = next((error for error in errors if not _expected(error, folder)), None)
    if wrong is not None:
        raise StageError(
            f"the emitted model does not fit ZML itself: {wrong.shown}",
            "see the log for where it is used; is the checkout at the commit the emitted folder names?",
        )
    _, canaries = _analysed(folder, "canaries", checkout)
    reached = {(one.place.name, one.line) for one in canaries if one.place.parent == folder.resolve() / "canaries"}
    if len(reached) < functions:
        why = f": {errors[0].shown}" if errors else ""
        raise NotReachedError(f"{functions - len(reached)} of {functions} functions are not analysed{why}")
    return functions


def _without_errors(source: str) -> str:
    """The Zig with what each `try` gives taken from the type alone.

    Zig infers most errors of ZML's functions from their bodies. Where a body needs what is absent, its errors are not
    known, and zig passes over all that tries it.
    """
    attempted, count = _TRY.subn(r"attempt(\1);", source)
    return attempted + (ATTEMPT if count else "")


def _expected(error: _Error, folder: Path) -> bool:
    """Of ZML's own code, about what is not in its checkout."""
    return folder.resolve() not in error.place.parents and (ABSENT in error.message or ABSENT in error.details)


def _analysed(folder: Path, emitted: str, checkout: Path) -> tuple[str, list[_Error]]:
    """What zig says of the copy of the emitted files in that folder, and the errors in it."""
    (folder / "harness.zig").write_text(HARNESS, encoding="utf-8")
    command = [toolchain.zig(), "build-obj", "-fno-emit-bin", "-fsingle-threaded", "--color", "off"]
    command += ["-lc", "-freference-trace=64"]
    command += ["--cache-dir", str(folder / "zig"), "--global-cache-dir", str(folder / "zig")]
    command += ["--dep", "torch2zml", f"-Mroot={folder / 'harness.zig'}"]
    command += ["--dep", f"zml={zig_modules.ROOT}", f"-Mtorch2zml={folder / emitted / TEST}"]
    modules = zig_modules.modules(checkout).values()
    for module in modules:
        for name, label in sorted(module.imports.items()):
            command += ["--dep", f"{name}={label}"]
        for name in sorted(module.absent):
            command += ["--dep", f"{name}={ABSENT}"]
        command.append(f"-M{module.label}={module.main}")
    if any(module.absent for module in modules):
        types = sorted({one for module in modules for used in module.absent.values() for one in used})
        absent = folder / f"{ABSENT}.zig"
        absent.write_text("".join(TYPE.format(name=one) for one in types), encoding="utf-8")
        command.append(f"-M{ABSENT}={absent}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    lines = done.stderr.splitlines()
    starts = [(index, match) for index, line in enumerate(lines) if (match := _ERROR.match(line))]
    if done.returncode and not starts:
        raise NotReachedError(f"zig stopped: {toolchain.first_error(done.stderr)}")
    ends = [*(index for index, _ in starts[1:]), len(lines)]
    errors = [
        _Error((folder / match[1]).resolve(), int(match[2]), match[3], "\n".join(lines[start + 1 : end]))
        for (start, match), end in zip(starts, ends, strict=bool(starts))
    ]
    return done.stdout + done.stderr, errors
