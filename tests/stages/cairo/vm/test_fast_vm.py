# environment: cairo
"""The project's Cairo VM against StarkWare's: same result, steps and builtins, and the same value in every cell."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from stages.base import StageError
from stages.cairo import fast_vm, reference_vm, toolchain
from stages.cairo.casm import PRIME, Casm
from stages.cairo.vm_protocol import Failure, Finished
from tests.stages.cairo.vm import programs

SOURCE = Path(__file__).resolve().parents[4] / "stages" / "cairo" / "vm"
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
    theirs = reference_vm.call(casm, calldata)
    assert isinstance(ours, Finished), ours
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
    *ends, _, _, failed, start, end = theirs.get_return_values(len(casm.builtins) + 5)
    used = {name: end - base for name, base, end in zip(casm.builtins, bases, ends, strict=True)}
    assert (ours.range_checks, 5 * ours.bitwise) == (used["range_check"], used["bitwise"])
    assert ours.panicked == bool(failed)
    assert ours.result == tuple(theirs.vm_memory[start + index] for index in range(end - start))
    return ours


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
    assert found[0] == found[2] != found[1]


@pytest.mark.slow
def test_equals_starkwares_vm_on_random_inputs(vm: Path, compiled: tuple[Casm, list[str]]) -> None:
    casm, names = compiled
    generator = random.Random(0)
    panics = 0
    for _ in range(150):
        values = (generator.choice((*programs.EDGES, generator.randrange(20), generator.randrange(PRIME))) for _ in "123")
        number = generator.choice([index for index, name in enumerate(names) if name != "recursion"])
        panics += same(vm, casm, [number, *values]).panicked
    assert 10 < panics < 140


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_field_arithmetic_is_that_of_integers(tmp_path: Path, count: int) -> None:
    calculator = fast_vm.compile_c([Path(__file__).parent / "felt_calculator.c"], tmp_path / "calculator")
    generator = random.Random(1)

    def felt() -> int:
        near = generator.choice(programs.EDGES) + generator.randrange(-3, 4)
        return generator.choice((near, generator.randrange(PRIME), generator.getrandbits(generator.randrange(252)))) % PRIME

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
