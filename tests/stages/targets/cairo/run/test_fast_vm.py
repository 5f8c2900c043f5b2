# environment: cairo
"""The project's Cairo VM against StarkWare's: same result, steps and builtins, and the same value in every cell."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recast.stages.base import StageError
from recast.stages.targets.cairo.run import fast_vm, reference_vm, toolchain
from recast.stages.targets.cairo.run.vm_protocol import WORDS_AFTER, Failure, Finished
from recast.stages.targets.cairo.syntax.casm import PRIME, Casm
from recast.stages.targets.cairo.verify import VM
from tests.lib.cairo.vm import programs

SOURCE = VM.path
SEEDS = range(4)
FIRST_SEGMENT = 10
"""of those that StarkWare's runner adds after the program, the stack and its eight builtins"""


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fast_vm.build(SOURCE, tmp_path_factory.mktemp("vm"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Casm, list[str]]:
    folder = tmp_path_factory.mktemp("programs")
    names = programs.write_crate(folder / "workspace", SEEDS)
    return toolchain.compile_workspace(folder / "workspace", folder / "build", entry="main"), names


def same(vm: Path, casm: Casm, calldata: list[int]) -> Finished:
    """Run on both; asserts that everything is equal, and gives what ours says."""
    (ours,) = fast_vm.outcomes(vm, casm, [calldata], want_memory=True)
    assert isinstance(ours, Finished), ours
    compare(casm, ours, reference_vm.call(casm, calldata))
    return ours


def compare(casm: Casm, ours: Finished, theirs: Any) -> None:
    """Every cell of memory, segment by segment in the order they were added; steps, builtins and result."""
    segments = {0: 0, 1: 1}
    bases = reference_vm.builtin_bases(casm, theirs)
    segments |= {base.segment_index: 2 + index for index, base in enumerate(bases)}
    later = range(FIRST_SEGMENT, theirs.segments.n_segments)
    segments |= {index: 2 + len(bases) + position for position, index in enumerate(later)}

    def place(value: object) -> object:
        segment = getattr(value, "segment_index", None)
        return value if segment is None else (segments[segment], value.offset)  # type: ignore[attr-defined]

    expected = {place(address): place(value) for address, value in theirs.vm_memory.data.items()}
    found = {
        (segment, offset): value
        for segment, cells in enumerate(ours.memory)
        for offset, value in cells.items()
    }  # fmt: skip
    assert found == expected
    assert len(ours.memory) == len(segments)
    assert ours.memory_cells == len(expected)
    assert ours.steps == theirs.vm.current_step
    assert ours.cells_at == theirs.cells_at
    *ends, _, _, failed, start, end = theirs.get_return_values(len(casm.builtins) + 5)
    used = {name: end - base for name, base, end in zip(casm.builtins, bases, ends, strict=True)}
    assert (ours.range_checks, 5 * ours.bitwise) == (used["range_check"], used["bitwise"])
    assert ours.panicked == bool(failed)
    assert ours.result == tuple(theirs.vm_memory[start + index] for index in range(end - start))


@pytest.mark.parametrize("data", [[], [1, 2, 3]])
def test_cells_belong_to_instructions_or_stand_before_the_run(
    vm: Path, compiled: tuple[Casm, list[str]], data: list[int]
) -> None:
    casm, names = compiled
    calldata = [names.index("sums in a loop"), *data]
    execution = fast_vm.run(vm, casm, calldata)
    costs_of_builtins, gas_system_and_data, way_back = 5, 4, 2
    standing = len(casm.bytecode) + WORDS_AFTER + costs_of_builtins + len(calldata)
    standing += len(casm.builtins) + gas_system_and_data + way_back
    assert sum(execution.cells_at.values()) == execution.memory_cells - standing


CASES = [
    ("sums in a loop", [5, PRIME - 3, 2**200]),
    ("sums in a loop", []),
    ("felts", [PRIME - 1, 2]),
    ("felts", [2**250, 2**250]),
    ("u128", [2**128 - 1, 2**127 + 12345]),
    ("u128", [2**100, 2**64]),
    ("u64 and u32", [2**63, 1]),
    ("u64 and u32", [123456789, 4099]),
    ("floor and slots", [PRIME - 5]),
    ("floor and slots", [2**128 - 1]),
    ("floor and slots", [2**128]),
    ("arrays", [1, 5, 7, 11, 2]),
    ("recursion", [9, 4]),
    *((f"random {seed}", [PRIME - 1 - seed, 2**128 + seed]) for seed in SEEDS),
]


@pytest.mark.parametrize(("name", "data"), CASES)
def test_equals_starkwares_vm(vm: Path, compiled: tuple[Casm, list[str]], name: str, data: list[int]) -> None:
    casm, names = compiled
    assert not same(vm, casm, [names.index(name), *data]).panicked


PANICS = [
    ("u128", [2**128, 1], "Option::unwrap failed."),
    ("u128", [1, 0], "u128 is 0"),
    ("u128", [1, 2], "u128_sub Overflow"),
    ("u64 and u32", [2**63, 2], "u64_mul Overflow"),
    ("u64 and u32", [PRIME - 1, 2], "Option::unwrap failed."),
    ("felts", [1, 0], "Option::unwrap failed."),
    ("arrays", [7, 1, 1, 1], "Index out of bounds"),
    ("panic of its own", [7], "out of range, 7"),
    ("recursion", [], "Option::unwrap failed."),
]


@pytest.mark.parametrize(("name", "data", "text"), PANICS)
def test_panics_as_starkwares_vm_does(
    vm: Path, compiled: tuple[Casm, list[str]], name: str, data: list[int], text: str
) -> None:
    casm, names = compiled
    calldata = [names.index(name), *data]
    assert same(vm, casm, calldata).panicked
    for run in (lambda: fast_vm.run(vm, casm, calldata), lambda: reference_vm.run(casm, calldata)):
        with pytest.raises(StageError) as caught:
            run()
        assert caught.value.message == f"the program panics: {text}"


def test_executions_are_the_same_objects_and_runs_do_not_disturb_each_other(
    vm: Path, compiled: tuple[Casm, list[str]]
) -> None:
    casm, names = compiled
    inputs = [[names.index("recursion"), 8, 1], [names.index("u128"), 77, 5], [names.index("recursion"), 8, 1]]
    found = fast_vm.run_each(vm, casm, inputs)
    assert found == [reference_vm.run(casm, data) for data in inputs]
    assert sum(found[0].steps_at.values()) == found[0].steps
    assert found[0].cells_at
    assert found[0] == found[2] != found[1]


@pytest.mark.slow
def test_equals_starkwares_vm_on_random_inputs(vm: Path, compiled: tuple[Casm, list[str]]) -> None:
    casm, names = compiled
    generator = random.Random(0)
    panics = 0
    for _ in range(150):
        values = (
            generator.choice((*programs.EDGES, generator.randrange(20), generator.randrange(PRIME))) for _ in "123"
        )
        number = generator.choice([index for index, name in enumerate(names) if name != "recursion"])
        panics += same(vm, casm, [number, *values]).panicked
    assert 10 < panics < 140


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_field_arithmetic_is_that_of_integers(vm: Path, count: int) -> None:
    source = Path(__file__).parents[4] / "lib/cairo/vm/felt_calculator.c"
    calculator = fast_vm.compile_c([source], vm.parent / "calculator")
    generator = random.Random(1)

    def felt() -> int:
        near = generator.choice(programs.EDGES) + generator.randrange(-3, 4)
        return (
            generator.choice((near, generator.randrange(PRIME), generator.getrandbits(generator.randrange(252))))
            % PRIME
        )

    pairs = [(a, b) for a in programs.EDGES for b in programs.EDGES]
    pairs += [(felt(), felt()) for _ in range(count - len(pairs))]
    request = b"".join(value.to_bytes(32, "little") for pair in pairs for value in pair)
    answer = subprocess.run([calculator], input=request, capture_output=True, check=True).stdout
    numbers = [int.from_bytes(answer[at : at + 32], "little") for at in range(0, len(answer), 32)]
    assert len(numbers) == 6 * len(pairs)
    for index, (a, b) in enumerate(pairs):
        total, difference, product, quotient, remainder, ratio = numbers[6 * index : 6 * index + 6]
        assert (total, difference, product) == ((a + b) % PRIME, (a - b) % PRIME, a * b % PRIME), (a, b)
        if b:
            assert (quotient, remainder) == divmod(a, b), (a, b)
            assert ratio < PRIME and ratio * b % PRIME == a, (a, b)


@pytest.mark.slow
def test_damaged_programs_fail_on_both_or_do_the_same(vm: Path, compiled: tuple[Casm, list[str]]) -> None:
    """One bit, offset or immediate is changed in an instruction that runs."""
    casm, names = compiled
    generator = random.Random(2)
    failures = 0
    for _ in range(120):
        name, data = generator.choice(CASES[2:13])
        calldata = [names.index(name), *data]
        (whole,) = fast_vm.outcomes(vm, casm, [calldata])
        assert isinstance(whole, Finished)
        at = generator.choice([pc for pc in whole.steps_at if pc + 1 < len(casm.bytecode)])
        words = list(casm.bytecode)
        kind = generator.randrange(3)
        if kind == 0:
            words[at] ^= 1 << generator.randrange(63)
        elif kind == 1:
            words[at] ^= (words[at] ^ (words[at] + generator.choice((-2, -1, 1, 2)))) & 0xFFFF
        else:
            words[at + 1] = (words[at + 1] + generator.choice((-2, -1, 1, 2, PRIME // 2))) % PRIME
        damaged = replace(casm, bytecode=tuple(words))
        (ours,) = fast_vm.outcomes(vm, damaged, [calldata], most_steps=3000, want_memory=True)
        try:
            theirs = reference_vm.call(damaged, calldata, most_steps=3000)
        except Exception:  # a fault shows as whatever exception Python meets first
            assert isinstance(ours, Failure), ours
            failures += 1
            continue
        if isinstance(ours, Finished):
            compare(damaged, ours, theirs)
        else:  # ours looks at what is returned as well, after the last step
            assert ours.steps == theirs.vm.current_step, ours
    assert 10 < failures < 110


CONSTANT = 0x480680017FFF8000  # [ap] = the immediate that follows, ap++
RANGE_CHECK = 0x400280007FF97FFF  # [ap - 1] = [[fp - 7]], the first cell of range_check
HERE = 0x400680017FFF8000  # [ap] = the immediate that follows
FOLLOW = 0x480280007FFF8000  # [ap] = [[ap - 1]], ap++
JUMP = 0x10780017FFF7FFF  # jmp rel, by the immediate that follows
RETURN = 0x208B7FFF7FFF7FFE
ALLOCATE = {0: [{"AllocSegment": {"dst": {"register": "AP", "offset": -1}}}]}
PYTHONIC = {0: ["memory[ap - 1] = segments.add()"]}

WRITE_X, WRITE_Y = 0x400280007FF97FFF, 0x400280017FF97FFF  # [ap - 1] = [[fp - 7]], and the cell after it
READ_AND = 0x480280027FF98000  # [ap] = [[fp - 7] + 2], ap++
IS = 0x400680017FFF7FFF  # [ap - 1] = the immediate that follows
NEXT_USE = 0x482680017FF98000  # [ap] = [fp - 7] + the immediate that follows, ap++
GAS, SYSTEM, START, END = (
    0x480A00007FFF8000 | (0x8000 - below) << 32 for below in (6, 5, 4, 3)
)  # [ap] = [fp - below], ap++


def test_a_cell_belongs_to_the_instruction_that_first_writes_it(vm: Path) -> None:
    words = [CONSTANT, 12, WRITE_X, CONSTANT, 10, WRITE_Y, READ_AND, IS, 12 & 10]
    words += [NEXT_USE, 5, GAS, SYSTEM, CONSTANT, 0, START, END, RETURN]
    allocate = {15: [{"AllocSegment": {"dst": {"register": "AP", "offset": 5}}}]}
    casm = Casm(tuple(words), allocate, {15: ["memory[ap + 5] = segments.add()"]}, 0, ("bitwise",), {0: "f"}, 0)
    (ours,) = fast_vm.outcomes(vm, casm, [[]])
    assert isinstance(ours, Finished), ours
    by_one = dict.fromkeys((0, 2, 3, 5, 9, 11, 12, 13, 16), 1)
    and_of_two_cells, allocation = {6: 2}, {15: 2}  # deduced by the builtin, and written by the hint
    assert ours.cells_at == by_one | and_of_two_cells | allocation
    assert ours.cells_at == reference_vm.call(casm, []).cells_at


FAULTS = [
    ([CONSTANT, 2**128, RANGE_CHECK], {}, "range check 0 is for 0x.*, which is not below 2.128"),
    ([HERE, 1, HERE, 2], {}, "an assertion fails: 1 is not 2"),
    ([HERE, 1], ALLOCATE, "cell 1:6 holds .*, and .* is written to it"),
    ([CONSTANT, 5, FOLLOW], {}, "is no pointer|never written"),
    ([JUMP, 0], {}, "the program has not ended after 1000 steps"),
    ([JUMP, 100], {}, "the program counter leaves the program"),
    ([JUMP, PRIME - 1], {}, "out of its segment"),
    ([CONSTANT, 5, 2**63], {}, "is no instruction"),
    ([CONSTANT, 5, PRIME - 1], {}, "is no instruction"),
]


@pytest.mark.parametrize(("words", "hints", "reason"), FAULTS)
def test_a_fault_stops_both(vm: Path, words: list[int], hints: dict[int, Any], reason: str) -> None:
    casm = Casm(tuple(words), hints, PYTHONIC if hints else {}, 0, ("range_check",), {0: "the function"}, 0)
    with pytest.raises(StageError, match=f"stops at instruction \\d+ in the function, after \\d+ steps: .*({reason})"):
        fast_vm.run_each(vm, casm, [[]], most_steps=1000)
    with pytest.raises(Exception):  # noqa: B017 - whatever Python meets first
        reference_vm.call(casm, [], most_steps=1000)


def test_refuses_what_it_does_not_know_by_name(vm: Path) -> None:
    plain = Casm((RETURN,), {}, {}, 0, ("range_check",), {0: "f"}, 0)
    root = {"SquareRoot": {"value": {"Immediate": "0x4"}, "dst": {"register": "AP", "offset": 0}}}
    with pytest.raises(StageError, match="the hint SquareRoot at 0"):
        fast_vm.run(vm, replace(plain, hints={0: [root]}), [])
    with pytest.raises(StageError, match="the builtin pedersen"):
        fast_vm.run(vm, replace(plain, builtins=("pedersen", "range_check")), [])


def test_a_folder_without_the_vm_and_c_that_does_not_compile_are_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="holds no C files"):
        fast_vm.build(tmp_path, tmp_path / "built")
    (tmp_path / "main.c").write_text("int main(void) { return x; }\n", encoding="utf-8")
    with pytest.raises(StageError, match=r"main\.c:1:.*undeclared"):
        fast_vm.build(tmp_path, tmp_path / "built")
