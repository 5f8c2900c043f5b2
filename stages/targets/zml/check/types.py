"""Check the emitted Zig's types against the sources of ZML with zig alone: no Bazel, no network, nothing built.

Zig analyses the emitted files and, as far as they use it, ZML's own code. What Bazel would fetch or generate, above all
the C interfaces of MLIR and PJRT, is not there: a module of declarations derived from ZML's use of them stands for it
(`absent`), which what zig says of it completes, again and again. Errors about that module that are left, and
those of ZML's wrappers around such interfaces, are expected. Any other error counts; and canaries show that every
emitted function was analysed to its end.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from recast.stages.base import StageError
from recast.stages.targets.zml.check import toolchain, zig_modules
from recast.stages.targets.zml.check.absent_modules import NAME, Absent, Error, read_errors
from recast.stages.targets.zml.check.planted_errors import planted
from recast.stages.targets.zml.check.zig_modules import Module
from recast.stages.targets.zml.project import MODEL, TEST

ROUNDS = 6
"""how often the declarations are completed at most; for those of ZML itself each takes zig two to three seconds"""
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


class NotReachedError(Exception):
    """Zig alone cannot analyse all of the emitted code; the message says what stops it."""


def check(emitted: Path, checkout: Path, scratch: Path, known: Absent | None = None) -> int:
    """How many functions of the emitted files zig has analysed to their end, without an error of theirs.

    `known`: the declarations of an earlier check with the same checkout, to begin with and to complete. Raises
    StageError with the first error, and NotReachedError if a function is not analysed.
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
    modules = list(zig_modules.modules(checkout).values())
    absent = known or Absent(modules)
    for _ in range(ROUNDS):
        output, errors = _analysed(folder, "sound", modules, absent)
        if not absent.learn(error for error in errors if folder.resolve() not in error.place.parents):
            break
    sys.stderr.write(output)
    wrappers = {path.resolve() for one in modules if one.absent and one.label != zig_modules.ROOT for path in one.files}
    wrong = next((error for error in errors if not _expected(error, folder, wrappers)), None)
    if wrong is not None:
        raise StageError(
            f"the emitted model does not fit ZML itself: {_shown(wrong)}",
            "see the log for where it is used; is the checkout at the commit the emitted folder names?",
        )
    _, canaries = _analysed(folder, "canaries", modules, absent)
    reached = {(one.place.name, one.line) for one in canaries if one.place.parent == folder.resolve() / "canaries"}
    if len(reached) < functions:
        why = f": {_shown(errors[0])}" if errors else ""
        raise NotReachedError(f"{functions - len(reached)} of {functions} functions are not analysed{why}")
    return functions


def _without_errors(source: str) -> str:
    """The Zig with what each `try` gives taken from the type alone.

    Zig infers most errors of ZML's functions from their bodies. Where a body needs what is absent, its errors are not
    known, and zig passes over all that tries it.
    """
    attempted, count = _TRY.subn(r"attempt(\1);", source)
    return attempted + (ATTEMPT if count else "")


def _shown(error: Error) -> str:
    used = _EMITTED.search(error.details) if error.place.name not in (MODEL, TEST) else None
    return f"{error.place.name}:{error.line}: {error.message}" + (f" (used in {used[1]})" if used else "")


def _expected(error: Error, folder: Path, wrappers: Collection[Path]) -> bool:
    """Of ZML's own code, about what is not in its checkout."""
    if folder.resolve() in error.place.parents:
        return error.place.name == f"{NAME}.zig"
    return error.place in wrappers or NAME in error.message or NAME in error.details


def _analysed(folder: Path, emitted: str, modules: Collection[Module], absent: Absent) -> tuple[str, list[Error]]:
    """What zig says of the copy of the emitted files in that folder, and the errors in it."""
    (folder / "harness.zig").write_text(HARNESS, encoding="utf-8")
    command = [toolchain.zig(), "build-obj", "-fno-emit-bin", "-fsingle-threaded", "--color", "off"]
    command += ["-lc", "-freference-trace=64"]
    command += ["--cache-dir", str(folder / "zig"), "--global-cache-dir", str(folder / "zig")]
    command += ["--dep", "torch2zml", f"-Mroot={folder / 'harness.zig'}"]
    command += ["--dep", f"zml={zig_modules.ROOT}", f"-Mtorch2zml={folder / emitted / TEST}"]
    for module in modules:
        for name, label in sorted(module.imports.items()):
            command += ["--dep", f"{name}={label}"]
        for name in sorted(module.absent):
            command += ["--dep", f"{name}={NAME}"]
        command.append(f"-M{module.label}={module.main}")
    if any(module.absent for module in modules):
        declared = folder / f"{NAME}.zig"
        declared.write_text(absent.text(), encoding="utf-8")
        command.append(f"-M{NAME}={declared}")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    errors = read_errors(done.stderr, folder)
    if done.returncode and not errors:
        raise NotReachedError(f"zig stopped: {toolchain.first_error(done.stderr)}")
    return done.stdout + done.stderr, errors
