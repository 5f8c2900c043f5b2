"""Writes the functions that hold a tensor's rows and call others with them, row by row of what they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Boxes = tuple[tuple[str, int], ...]
"""rows as (array, row)"""

MOST_ROWS, MOST_CALLS = 128, 256
"""rows of the input that one function holds, and functions that it calls: the compiler's memory grows with the one
times the other, and with the square of the one"""

AT_ONCE = 8
"""rows that are taken by number in one call"""


def function(name: str, arrays: Mapping[str, int], makes: str, calls: Sequence[tuple[str, Boxes]]) -> str:
    """`fn NAME(spans) -> Array<MAKES>`, which calls functions as (their name, the rows they take), in this order.

    `arrays` maps each span to the cells of its rows. Where one function would hold too many rows or make too many
    calls, it calls others that make some of them each, and get their rows by number.
    """
    parameters = ", ".join(f"{array}: Span<Row{width}>" for array, width in arrays.items())
    head = f"fn {name}({parameters}) -> Array<{makes}> {{"
    # boxes then lie at fixed places of the function: the compiler cannot reach 2^15 cells back
    begin = ["    revoke_ap_tracking();", "    let mut out = ArrayTrait::new();"]
    apart = list(parts(calls))
    if len(apart) == 1:
        taken = [line for array in arrays for line in _in_turn(array, _rows(array, calls))]
        return "\n".join([head, *taken, *begin, *map(_call, calls), "    out", "}", ""])
    texts, lines = [], []
    for number, part in enumerate(apart):
        taken = [line for array in arrays for line in _by_number(array, _rows(array, part))]
        texts += [
            "#[inline(never)]",
            f"fn {name}_part{number}({parameters}, ref out: Array<{makes}>) {{",
            *taken,
            "    revoke_ap_tracking();",
            *map(_call, part),
            "}",
            "",
        ]
        lines.append(f"    {name}_part{number}({', '.join(arrays)}, ref out);")
    return "\n".join([*texts, head, *begin, *lines, "    out", "}", ""])


def _rows(array: str, calls: Sequence[tuple[str, Boxes]]) -> set[int]:
    return {row for name, row in held(calls) if name == array}


def _in_turn(array: str, used: set[int]) -> list[str]:
    """Lines that take an array's rows one after the other, up to the last that is used."""
    if not used:
        return []
    names = [f"{array}_{row}" if row in used else "_" for row in range(max(used) + 1)]
    return [f"    let mut {array} = {array};", *(f"    let {name} = next(ref {array});" for name in names)]


def _by_number(array: str, used: set[int]) -> list[str]:
    """Lines that take some of an array's rows, of which each may not be there: few branches, for many rows each."""
    rows, lines = sorted(used), []
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        more = AT_ONCE - len(some)
        names = ", ".join([*(f"{array}_{row}" for row in some), *["_"] * more])
        numbers = ", ".join(str(row) for row in [*some, *[some[0]] * more])
        lines.append(f"    let ({names}) = numbered({array}, {numbers});")
    return lines


def numbered() -> str:
    """`numbered(rows, numbers...)`: AT_ONCE rows of a tensor by their numbers."""
    numbers = ", ".join(f"n{index}: usize" for index in range(AT_ONCE))
    boxes = ", ".join(["Box<@T>"] * AT_ONCE)
    found = ", ".join(f"row(rows, n{index})" for index in range(AT_ONCE))
    return f"""\
// Rows of a tensor by their numbers.
#[inline(never)]
fn numbered<T>(rows: Span<T>, {numbers}) -> ({boxes}) {{
    ({found})
}}

#[inline(always)]
fn row<T>(rows: Span<T>, number: usize) -> Box<@T> {{
    match rows.get(number) {{
        Option::Some(row) => row,
        Option::None(_) => panic_with_felt252('too few rows'),
    }}
}}
"""


def _call(call: tuple[str, Boxes]) -> str:
    name, boxes = call
    return f"    {name}({', '.join([*(f'{array}_{row}' for array, row in boxes), 'ref out'])});"


def parts(calls: Sequence[tuple[str, Boxes]]) -> Iterator[list[tuple[str, Boxes]]]:
    """The calls in groups, in their order, each of as many as one function may make, and at least one."""
    part: list[tuple[str, Boxes]] = []
    rows: set[tuple[str, int]] = set()
    for call in calls:
        if part and (len(part) == MOST_CALLS or len(rows | {*call[1]}) > MOST_ROWS):
            yield part
            part, rows = [], set()
        part.append(call)
        rows |= {*call[1]}
    if part:
        yield part


def held(calls: Sequence[tuple[str, Boxes]]) -> set[tuple[str, int]]:
    """All rows that the calls take."""
    return {box for _, boxes in calls for box in boxes}
