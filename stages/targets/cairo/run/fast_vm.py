"""The project's own Cairo VM, in C (csrc/): some hundred times as fast as StarkWare's, and equal to it.

It knows what our emitted programs use: the builtins range_check and bitwise, and seven hints. Its tests compare every
cell of memory with StarkWare's VM. A run is a process of its own, so that no fault of it can take a stage along.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from recast.stages.base import StageError
from recast.stages.common.vendor_errors import refuse_if_killed
from recast.stages.targets.cairo.run.execution import Execution
from recast.stages.targets.cairo.run.reference_vm import panic_text
from recast.stages.targets.cairo.run.vm_protocol import Failure, Finished, read_outcomes, write_program, write_run
from recast.stages.targets.cairo.syntax.casm import PRIME, Casm

PROGRAM = "cairo_vm"
MOST_STEPS = 1_000_000_000


def build(source: Path, scratch: Path) -> Path:
    """Compile the C files of the folder `source` with zig; the program lies in `scratch`, with zig's cache."""
    files = sorted(source.glob("*.c"))
    if not files:
        raise StageError(f"{source} holds no C files", "the Cairo VM is in stages/targets/cairo/run/csrc")
    return compile_c(files, scratch / PROGRAM)


def compile_c(files: Sequence[Path], program: Path) -> Path:
    """Compile C files to `program`, with zig's cache beside it; StageError with the first error."""
    import ziglang

    program.parent.mkdir(parents=True, exist_ok=True)
    command = [Path(ziglang.__file__).parent / "zig", "cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
    cache = str(program.parent / "zig")
    done = subprocess.run(
        [*map(str, command), *map(str, files), "-o", str(program)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "ZIG_LOCAL_CACHE_DIR": cache, "ZIG_GLOBAL_CACHE_DIR": cache},
    )
    # the compiler's own words belong in the stage's log
    sys.stderr.write(done.stdout + done.stderr)
    refuse_if_killed("zig", done.returncode, "run fewer stages at once")
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error:" in line), "no message")
        raise StageError(
            f"{program.name} does not compile: {Path(first).name}", "see the log; mend stages/targets/cairo/run/csrc"
        )
    return program


def run(program: Path, casm: Casm, calldata: Sequence[int]) -> Execution:
    """Call the entry point with felts; StageError if it panics, with the text of the panic, or if the VM fails."""
    (execution,) = run_each(program, casm, [calldata])
    return execution


def run_each(
    program: Path, casm: Casm, inputs: Sequence[Sequence[int]], most_steps: int = MOST_STEPS
) -> list[Execution]:
    """One call of the entry point for each input, all in one process; raises as `run` does, for the first at fault."""
    executions = []
    for outcome in outcomes(program, casm, inputs, most_steps):
        if isinstance(outcome, Failure):
            raise StageError(
                f"the Cairo VM stops at instruction {outcome.pc} in {_function_at(casm, outcome.pc)}, "
                f"after {outcome.steps} steps: {outcome.reason}",
                "this is a fault of the cairo target, or of its VM",
            )
        if outcome.panicked:
            texts = ", ".join(map(panic_text, outcome.result))
            raise StageError(f"the program panics: {texts}", "see the emitted README.md")
        executions.append(
            Execution(
                result=outcome.result[1:],  # the first is the array's length
                steps=outcome.steps,
                memory_cells=outcome.memory_cells,
                range_checks=outcome.range_checks,
                bitwise=outcome.bitwise,
                steps_at=outcome.steps_at,
                cells_at=outcome.cells_at,
            )
        )
    return executions


def outcomes(
    program: Path,
    casm: Casm,
    inputs: Sequence[Sequence[int]],
    most_steps: int = MOST_STEPS,
    want_memory: bool = False,
) -> list[Finished | Failure]:
    """What came of each input, panics and failures too; with every cell of memory, if wanted."""
    request = write_program(casm, most_steps, want_memory) + len(inputs).to_bytes(8, "little")
    request += b"".join(write_run([felt % PRIME for felt in calldata]) for calldata in inputs)
    done = subprocess.run([str(program)], input=request, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise StageError(f"the Cairo VM ended without a result: {reason}", "it may have run out of memory")
    return read_outcomes(done.stdout, casm, len(inputs), want_memory)


def _function_at(casm: Casm, pc: int) -> str:
    starts = [start for start in casm.functions if start <= pc]
    return casm.functions[max(starts)] if starts else "no function"
