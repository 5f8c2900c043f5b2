"""The text of the workspace's files, in the layout that users of Giza know."""

from __future__ import annotations

from collections.abc import Iterable

from recast.stages.targets.cairo.codegen import calls_text, crate_text
from recast.stages.targets.cairo.codegen.emission import Emission, Written
from recast.stages.targets.cairo.syntax.layer import WEIGHT_ROW, WEIGHTS, Layer, unboxed

PACKAGE = "inference"
CHUNK = 64
"""appends in one function: the compiler's time grows faster than a function"""


def files(emission: Emission) -> dict[str, str]:
    """Path in the workspace -> text."""
    fixed = emission.program.format.name.lower()
    layers = [one.layer for one in emission.written]
    weighted = [layer for layer in layers if layer.crate]
    used = {name for layer in layers for name in layer.fixed_point}
    crates = [fixed, "tensor", *(layer.crate for layer in weighted)]
    widths = _widths(emission)
    made = {
        "Scarb.toml": _manifest(PACKAGE, {name: f"crates/{name}" for name in crates}, workspace=True),
        f"crates/{fixed}/Scarb.toml": _manifest(fixed, {}),
        f"crates/{fixed}/src/lib.cairo": crate_text.text(emission.program.format, used),
        "crates/tensor/Scarb.toml": _manifest("tensor", {}),
        "crates/tensor/src/lib.cairo": _tensor(sorted(widths)),
        "src/lib.cairo": LIB,
        "src/functions.cairo": _functions(emission, fixed),
        "src/inference.cairo": _inference(emission),
    }
    for layer in weighted:
        place = f"crates/{layer.crate}"
        made[f"{place}/Scarb.toml"] = _manifest(layer.crate, {fixed: f"../{fixed}", "tensor": "../tensor"})
        made[f"{place}/src/lib.cairo"] = "mod bias;\nmod weights;\n"
        made[f"{place}/src/weights.cairo"] = _weights(layer, fixed)
        made[f"{place}/src/bias.cairo"] = _bias(layer)
    return made


def _manifest(name: str, dependencies: dict[str, str], workspace: bool = False) -> str:
    head = '[workspace]\nmembers = ["crates/*"]\n\n' if workspace else ""
    lines = [f'{key} = {{ path = "{path}" }}' for key, path in dependencies.items()]
    needs = "\n".join(["", "[dependencies]", *lines, ""]) if lines else ""
    return f'{head}[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2023_01"\n{needs}'


LIB = """\
mod functions;
mod inference;
mod input;

use core::array::ArrayTrait;

// The model's output for the sample in input.cairo.
fn main() -> Array<felt252> {
    inference::main(input::input().span())
}
"""


def _tensor(widths: Iterable[int]) -> str:
    rows = []
    for width in widths:
        cells = "".join(f"    c{index}: felt252,\n" for index in range(width))
        rows.append(f"#[derive(Copy, Drop)]\nstruct Row{width} {{\n{cells}}}\n")
    return "\n".join([TENSOR, calls_text.numbered(), *rows])


TENSOR = """\
// A tensor is an array of rows. A row is read through a box, so that each of its felts is one step away.
use core::array::{SpanTrait, array_snapshot_pop_front};
use core::box::BoxTrait;
use core::option::OptionTrait;

// The next row of a tensor, without copying it.
#[inline(always)]
fn next<T>(ref rows: Span<T>) -> Box<@T> {
    match array_snapshot_pop_front(ref rows.snapshot) {
        Option::Some(row) => row,
        Option::None(_) => panic_with_felt252('too few rows'),
    }
}
"""

BIAS = """\
// What the sums of {name} start with: biases, half a unit for rounding, and an offset that makes every sum positive,
// for several outputs in one felt, each in a slot of its own bits.
"""


def _bias(layer: Layer) -> str:
    lines = [f"const {name}: felt252 = {value:#x};" for value, name in layer.constants.items()]
    return BIAS.format(name=layer.crate) + "\n".join([*lines, ""])


WEIGHTS_HEAD = """\
// The weights of {name}, as the constants of its sums. A constant holds the weights of several outputs for one input,
// each shifted to the slot of its output; one product adds to all their sums.
"""


def _weights(layer: Layer, fixed: str) -> str:
    return "\n".join(
        [
            WEIGHTS_HEAD.format(name=layer.crate) + _uses(layer, fixed),
            "use super::bias;",
            "",
            *_row_functions(layer, ""),
        ]
    )


def _uses(layer: Layer, fixed: str) -> str:
    rows = {layer.width} | {width for view in layer.inputs.values() for width in view.widths.values()}
    rows |= {WEIGHT_ROW} if layer.call_data else set()
    lines = ["use core::array::ArrayTrait;", "use core::box::BoxTrait;"]
    lines.append(f"use tensor::{{{', '.join(f'Row{width}' for width in sorted(rows))}}};")
    if layer.fixed_point:
        lines.append(f"use {fixed}::{{{', '.join(sorted(layer.fixed_point))}}};")
    return "\n".join(lines)


def _row_functions(layer: Layer, prefix: str) -> list[str]:
    return [f"#[inline(never)]\nfn {prefix}{name}{text}\n" for text, name in layer.functions.items()]


def _functions(emission: Emission, fixed: str) -> str:
    own = [one.layer for one in emission.written if not one.layer.crate]
    widths = sorted(_widths(emission))
    calls = sorted({name for layer in own for name in layer.fixed_point})
    head = [
        "use core::array::{ArrayTrait, SpanTrait};",
        "use core::box::BoxTrait;",
        "use core::integer::{U128sFromFelt252Result, u128s_from_felt252};",
        "use core::internal::revoke_ap_tracking;",
        "use core::option::OptionTrait;",
        f"use tensor::{{{', '.join(['next', 'numbered', *(f'Row{width}' for width in widths)])}}};",
        *([f"use {fixed}::{{{', '.join(calls)}}};"] if calls else []),
        "",
    ]
    passed = any(one.layer.call_data for one in emission.written)
    parts = [*head, _reading(emission), *([_weights_reading()] if passed else [])]
    for one in emission.written:
        if not one.layer.crate:
            parts += _row_functions(one.layer, f"{one.layer.name}_")
        parts.append(_driver(emission, one))
    return "\n".join([*parts, _giving(emission)])


def _reading(emission: Emission) -> str:
    """Takes the input out of the call data, and checks that each number lies in the range that was proven."""
    width = len(emission.input_rows[0])
    bounds = emission.bounds[emission.program.input]
    low, high = int(bounds.low.min()), int(bounds.high.max())
    lines = []
    for count in sorted({len(row) for row in emission.input_rows}):
        cells = [f"c{index}: x{index}" if index < count else f"c{index}: 0" for index in range(width)]
        lines += ["#[inline(never)]", f"fn read_{count}(ref data: Span<felt252>, ref out: Array<Row{width}>) {{"]
        lines += [f"    let x{index} = take(ref data);" for index in range(count)]
        lines += [f"    out.append(Row{width} {{ {', '.join(cells)} }});", "}", ""]
    reads = [f"    read_{len(row)}(ref data, ref out);" for row in emission.input_rows]
    if len(reads) > CHUNK:  # each may panic, which is a branch
        parts = [reads[start : start + CHUNK] for start in range(0, len(reads), CHUNK)]
        for number, part in enumerate(parts):
            head = f"fn read_part{number}(ref data: Span<felt252>, ref out: Array<Row{width}>) {{"
            lines += ["#[inline(never)]", head, "    revoke_ap_tracking();", *part, "}", ""]
        reads = [f"    read_part{number}(ref data, ref out);" for number in range(len(parts))]
    lines += [f"fn read_input(ref data: Span<felt252>) -> Array<Row{width}> {{"]
    # as in `calls_text`: from 3,072 numbers on, an image of 32x32 in colour, the last call cannot reach the first
    lines += ["    revoke_ap_tracking();", "    let mut out = ArrayTrait::new();", *reads]
    return TAKE.format(above=f"x + {-low}" if low else "x", high=high) + "\n".join([*lines, "    out", "}", ""])


TAKE = """\
// The next number of the call data, which must lie in the range for which the sums are proven not to overflow.
#[inline(always)]
fn take(ref data: Span<felt252>) -> felt252 {{
    match core::array::array_snapshot_pop_front(ref data.snapshot) {{
        Option::Some(x) => {{
            let x = *x.unbox();
            match u128s_from_felt252({above}) {{
                U128sFromFelt252Result::Narrow(_) => {{}},
                U128sFromFelt252Result::Wide((_, _)) => panic_with_felt252('input below its range'),
            }};
            match u128s_from_felt252({high} - x) {{
                U128sFromFelt252Result::Narrow(_) => {{}},
                U128sFromFelt252Result::Wide((_, _)) => panic_with_felt252('input above its range'),
            }};
            x
        }},
        Option::None(_) => panic_with_felt252('input too short'),
    }}
}}

"""


def _weights_reading() -> str:
    """Takes rows of weights out of the call data, which must be those of weights.json: they are not checked here."""
    cells = ", ".join(f"c{index}: x{index}" for index in range(WEIGHT_ROW))
    lines = ["#[inline(never)]", f"fn read_weight_row(ref data: Span<felt252>, ref out: Array<Row{WEIGHT_ROW}>) {{"]
    lines += [f"    let x{index} = *next(ref data).unbox();" for index in range(WEIGHT_ROW)]
    lines += [f"    out.append(Row{WEIGHT_ROW} {{ {cells} }});", "}", ""]
    lines += [
        f"fn read_weights(ref data: Span<felt252>, count: felt252) -> Array<Row{WEIGHT_ROW}> {{",
        "    let mut out = ArrayTrait::new();",
        "    let mut left = count;",
        "    loop {",
        "        if left == 0 {",
        "            break;",
        "        }",
        "        read_weight_row(ref data, ref out);",
        "        left = left - 1;",
        "    };",
        "    out",
        "}",
        "",
    ]
    return "\n".join(lines)


def _widths(emission: Emission) -> set[int]:
    passed = {WEIGHT_ROW for one in emission.written if one.layer.call_data}
    return passed | {width for view in emission.views.values() for width in view.widths.values()}


def _driver(emission: Emission, one: Written) -> str:
    """The function of a layer, which calls one function for each row of the output."""
    layer = one.layer
    widths = {array: width for view in emission.views.values() for array, width in view.widths.items()}
    arrays = {array: widths[array] for array in one.takes} | ({WEIGHTS: WEIGHT_ROW} if layer.call_data else {})
    place = f"{layer.crate}::weights::" if layer.crate else f"{layer.name}_"
    calls = [(f"{place}{name}", boxes) for name, boxes in layer.calls]
    return calls_text.function(layer.name, arrays, f"Row{layer.width}", calls)


def _giving(emission: Emission) -> str:
    """Puts the output's elements into an array of felts, in their order, some in each function."""
    view = emission.views[emission.program.output]
    places = [view.place(element) for element in range(emission.program.size(emission.program.output))]
    functions: dict[str, str] = {}
    calls = []
    for start in range(0, len(places), CHUNK):
        part = places[start : start + CHUNK]
        boxes = tuple(dict.fromkeys((array, row) for array, row, _ in part))
        widths = [view.widths[array] for array, _ in boxes]
        parameters = [f"b{box}: Box<@Row{width}>" for box, width in enumerate(widths)]
        lines = [f"({', '.join([*parameters, 'ref out: Array<felt252>'])}) {{"]
        for box, (array, row) in enumerate(boxes):
            used = {column for other, of, column in part if (other, of) == (array, row)}
            lines.append(f"    {unboxed(box, widths[box], used)}")
        lines += [f"    out.append(*r{boxes.index((array, row))}_{column});" for array, row, column in part]
        calls.append((functions.setdefault("\n".join([*lines, "}", ""]), f"give_{len(functions)}"), boxes))
    # a call of its own would cost a small output about as many steps as what it does
    inline = "never" if len(calls) > 1 else "always"
    texts = [f"#[inline({inline})]\nfn {name}{text}" for text, name in functions.items()]
    arrays = {array: view.widths[array] for array in dict.fromkeys(view.arrays)}
    return "\n".join([*texts, calls_text.function("write_output", arrays, "felt252", calls)])


def _inference(emission: Emission) -> str:
    names = ["read_input", *(one.layer.name for one in emission.written), "write_output"]
    lines = [
        "// Raw numbers of one sample in, raw numbers of the output out.",
        "fn main(data: Span<felt252>) -> Array<felt252> {",
        "    let mut data = data;",
        "    let t0 = read_input(ref data);",
        "    let t0 = t0.span();",
    ]
    passed = [one for one in emission.written if one.layer.call_data]
    for one in passed:
        lines += [f"    let {WEIGHTS}_{one.gives} = read_weights(ref data, {len(one.layer.weight_rows)});"]
    names += ["read_weights"] if passed else []
    lines += ["    if data.len() != 0 {", "        panic_with_felt252('input too long')", "    }"]
    for one in emission.written:
        takes = [*one.takes, *([f"{WEIGHTS}_{one.gives}.span()"] if one.layer.call_data else [])]
        lines += [f"    let {one.gives} = {one.layer.name}({', '.join(takes)});"]
        lines += [f"    let {one.gives} = {one.gives}.span();"]
    arrays = ", ".join(dict.fromkeys(emission.views[emission.program.output].arrays))
    head = ["use core::array::{ArrayTrait, SpanTrait};", f"use super::functions::{{{', '.join(names)}}};", ""]
    return "\n".join([*head, *lines, f"    write_output({arrays})", "}", ""])
