"""StarkWare's own Cairo VM, in Python: slow (30 000 to 100 000 steps a second), and the measure of any other.

It comes with the package `cairo-lang`, which also brings the compilers.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from recast.stages.base import StageError
from recast.stages.targets.cairo.run.execution import Execution
from recast.stages.targets.cairo.syntax.casm import PRIME, Casm

GAS = 10**15
"""enough for any run: what a run uses of it is not what is counted here"""
BUILTINS = ("range_check", "bitwise")


def run(casm: Casm, calldata: Sequence[int]) -> Execution:
    """Call the entry point with felts; StageError if it panics, with the text of the panic."""
    runner = call(casm, calldata)
    *ends, _, _, failed, start, end = runner.get_return_values(len(casm.builtins) + 5)
    memory = runner.vm_memory
    values = [memory[start + index] for index in range(end - start)]
    if failed:
        raise StageError(f"the program panics: {', '.join(map(panic_text, values))}", "see the emitted README.md")
    bases = builtin_bases(casm, runner)
    used = {name: end - base for name, base, end in zip(casm.builtins, bases, ends, strict=True)}
    trace = Counter(entry.pc.offset for entry in runner.vm.trace if entry.pc.segment_index == 0)
    return Execution(
        result=tuple(values[1:]),  # the first is the array's length
        steps=runner.vm.current_step,
        memory_cells=len(memory.data),
        range_checks=used.get("range_check", 0),
        bitwise=used.get("bitwise", 0) // 5,  # cells of one use
        steps_at=dict(trace),
        cells_at=runner.cells_at,
    )


def call(casm: Casm, calldata: Sequence[int], most_steps: int | None = None) -> Any:
    """Call the entry point with felts: StarkWare's runner after the run, with its registers, trace and memory.

    Its `cells_at` is counted here, as `Execution.cells_at` says.
    """
    _mend_dataclasses()
    from starkware.cairo.lang.vm.utils import RunResources

    unknown = set(casm.builtins) - set(BUILTINS)
    if unknown:
        raise StageError(f"the program needs the builtin {min(unknown)}", "this is a fault of the cairo target")
    runner = _counting_runner()(program=_program(casm), layout="starknet")
    system = runner.segments.add()
    costs = runner.segments.gen_arg([0] * 5)
    # after the program a `ret`, and the pointer to the costs of builtins, where the compiled code looks for it
    runner.load_data(runner.program_base + len(casm.bytecode), [0x208B7FFF7FFF7FFE, costs])
    data = runner.segments.gen_arg([felt % PRIME for felt in calldata])
    arguments = [*builtin_bases(casm, runner), GAS, system, data, data + len(calldata)]
    runner.run_from_entrypoint(
        casm.entry_point,
        *arguments,
        hint_locals={"syscall_handler": None},
        run_resources=RunResources(n_steps=most_steps),
        verify_secure=True,
        program_segment_size=len(casm.bytecode) + 2,
        allow_tmp_segments=True,
    )
    return runner


def builtin_bases(casm: Casm, runner: Any) -> list[Any]:
    """Where the segment of each builtin begins, in the entry point's order."""
    bases = {"range_check": runner.range_check_builtin.base, "bitwise": runner.bitwise_builtin.base}
    return [bases[name] for name in casm.builtins]


def panic_text(felt: int) -> str:
    """A panic's felt as the short string it is, or as a number."""
    text = felt.to_bytes(32, "big").lstrip(b"\0")
    return text.decode() if text and all(32 <= byte < 127 for byte in text) else str(felt)


def _counting_runner() -> Any:
    from starkware.cairo.common.cairo_function_runner import CairoFunctionRunner

    class CountingRunner(CairoFunctionRunner):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.cells_at: dict[int, int] = {}

        def vm_step(self) -> None:
            pc, before = self.vm.run_context.pc.offset, len(self.vm_memory.data)
            super().vm_step()
            written = len(self.vm_memory.data) - before
            if written:
                self.cells_at[pc] = self.cells_at.get(pc, 0) + written

    return CountingRunner


def _program(casm: Casm) -> Any:
    from starkware.cairo.lang.compiler.identifier_manager import IdentifierManager
    from starkware.cairo.lang.compiler.preprocessor.flow import FlowTrackingDataActual, ReferenceManager
    from starkware.cairo.lang.compiler.preprocessor.reg_tracking import RegTrackingData
    from starkware.cairo.lang.compiler.program import CairoHint, Program
    from starkware.cairo.lang.compiler.scoped_name import ScopedName

    tracking = FlowTrackingDataActual(ap_tracking=RegTrackingData())
    hints = {
        pc: [CairoHint(code=code, accessible_scopes=[], flow_tracking_data=tracking) for code in codes]
        for pc, codes in casm.pythonic_hints.items()
    }
    return Program(
        prime=PRIME,
        data=list(casm.bytecode),
        builtins=list(casm.builtins),
        hints=hints,
        compiler_version="",
        main_scope=ScopedName(),
        identifiers=IdentifierManager(),
        reference_manager=ReferenceManager(),
        attributes=[],
        debug_info=None,
    )


def _mend_dataclasses() -> None:
    """Python 3.11 refuses a mutable default in one of StarkWare's dataclasses, unless that can be hashed."""
    original = dataclasses._process_class  # type: ignore[attr-defined]
    if getattr(original, "mended", False):
        return

    def process(cls: Any, init: Any, repr_: Any, eq: Any, order: Any, unsafe_hash: Any, *rest: Any, **more: Any) -> Any:
        unsafe_hash = unsafe_hash or cls.__module__ == "starkware.cairo.lang.instances"
        return original(cls, init, repr_, eq, order, unsafe_hash, *rest, **more)

    process.mended = True  # type: ignore[attr-defined]
    dataclasses._process_class = process  # type: ignore[attr-defined]
